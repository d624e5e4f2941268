package api

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
)

const (
	heartbeat   = 15 * time.Second // of comments, so that a lost connection is noticed
	eventsWrite = 10 * time.Second // for a reader to take what it is sent
)

// streamEvents answers with server-sent events until the reader leaves, is too slow,
// or the server stops. The server's own limits of a request do not hold for it.
func (a *api) streamEvents(w http.ResponseWriter, r *http.Request) error {
	if _, err := readQuery(r); err != nil {
		return err
	}
	reader, err := a.Events(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	defer reader.Close()
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("stream events: %w", err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // or nginx keeps them back
	send := func(b []byte) bool {
		return control.SetWriteDeadline(time.Now().Add(eventsWrite)) == nil && write(w, b) && control.Flush() == nil
	}
	if !send([]byte(": rollcall\nretry: 1000\n\n")) {
		return nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var b []byte
		select {
		case <-r.Context().Done():
			return nil
		case <-reader.Done():
			return nil
		case <-beat.C:
			b = []byte(":\n\n")
		case <-reader.More():
			taken, err := reader.Take()
			if err != nil { // the client reconnects and gets a reset
				return nil
			}
			b = encodeEvents(taken)
		}
		if !send(b) {
			return nil
		}
	}
}

func write(w http.ResponseWriter, b []byte) bool {
	_, err := w.Write(b)
	return err == nil
}

// encodeEvents writes events as in the HTML standard, section 9.2.5. Data is compact
// JSON and so one line.
func encodeEvents(taken []events.Event) []byte {
	var b bytes.Buffer
	for _, e := range taken {
		fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, e.Data)
	}
	return b.Bytes()
}
