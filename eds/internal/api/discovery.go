package api

import "net/http"

// registration hands over a name that has been unescaped and checked.
func (a *api) registration(w http.ResponseWriter, r *http.Request) error {
	name, err := serviceName(r)
	if err != nil {
		return err
	}
	a.Discovery.ServeRegistration(w, r, name)
	return nil
}
