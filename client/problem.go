package client

import (
	"encoding/json"
	"fmt"
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

// The media types of the API.
const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
	mediaEvents  = "text/event-stream"
)

func mediaOf(resp *http.Response) string {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return media
}

// refusal is the error of an answer that does not have what was asked for: a *Problem
// if it is the API's. One without a reason is described by its status alone.
func refusal(server string, resp *http.Response, body []byte) error {
	media := mediaOf(resp)
	if resp.StatusCode/100 == 2 || media != mediaProblem && media != mediaJSON {
		return foreign(server, resp, body)
	}
	p := &Problem{}
	if media != mediaProblem || json.Unmarshal(body, p) != nil || p.Detail == "" {
		*p = Problem{Title: http.StatusText(resp.StatusCode), Detail: fmt.Sprintf("%s answered %s and did not say why", server, resp.Status)}
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
