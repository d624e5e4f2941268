package api

import (
	_ "embed"
	"net/http"

	"github.com/gorilla/mux"
	"github.com/swaggest/swgui/v5emb"
)

var (
	//go:embed openapi.yaml
	openAPI []byte
	//go:embed console/index.html
	consoleHTML []byte
	//go:embed console/console.js
	consoleJS []byte
)

// consolePolicy lets the page speak to this server only. Swagger UI
// draws its icons from data: URLs and sets styles on elements.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func consolePage(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Security-Policy", consolePolicy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	return file(w, "text/html; charset=utf-8", consoleHTML)
}

func openAPIDocument(w http.ResponseWriter, _ *http.Request) error {
	return file(w, "application/yaml", openAPI)
}

// consoleFiles serves console.js, and Swagger UI's own files out of the binary.
func consoleFiles() http.Handler {
	swagger := v5emb.New("", "", "/console/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache") // Swagger UI's files have an ETag
		if mux.Vars(r)["file"] == "console.js" {
			_ = file(w, "text/javascript; charset=utf-8", consoleJS)
			return
		}
		swagger.ServeHTTP(w, r)
	})
}

func file(w http.ResponseWriter, contentType string, content []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(content) // the client has gone
	return nil
}
