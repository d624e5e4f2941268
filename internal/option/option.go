// Package option translates the names of options in errors. A package that has options
// writes "option NAME" where it names one; its caller may have other names for them, such
// as flags.
package option

import "regexp"

var named = regexp.MustCompile(`\boption ([A-Z][A-Za-z]*)`)

// Rename returns err with each "option NAME" replaced by names[NAME], where there is one.
// The result wraps err. Nil stays nil.
func Rename(err error, names map[string]string) error {
	if err == nil {
		return nil
	}
	text := named.ReplaceAllStringFunc(err.Error(), func(found string) string {
		if name, ok := names[named.FindStringSubmatch(found)[1]]; ok {
			return name
		}
		return found
	})
	if text == err.Error() {
		return err
	}
	return renamed{text, err}
}

type renamed struct {
	text string
	err  error
}

func (r renamed) Error() string { return r.text }
func (r renamed) Unwrap() error { return r.err }
