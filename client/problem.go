package client

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"unicode"
)

// Problem is a refusal: the server's RFC 9457 problem document.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"` // of HTTP
	Detail string `json:"detail"` // printable
	Server string `json:"-"`      // who refused
}

func (p *Problem) Error() string { return p.Detail }

// problemOf reads a refusal. What is not a problem document, such as the page of a
// proxy, is told by its status alone.
func problemOf(server string, resp *http.Response, body []byte) *Problem {
	p := &Problem{}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(body, p) != nil || p.Detail == "" {
		*p = Problem{Title: http.StatusText(resp.StatusCode), Detail: unexplained(server, resp, body)}
	}
	p.Status, p.Server, p.Detail = resp.StatusCode, server, Printable(p.Detail)
	return p
}

// Printable keeps a text from a network from steering a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}
