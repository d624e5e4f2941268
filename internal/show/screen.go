package show

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
)

// Screen is what rollcall watch shows on a terminal.
type Screen struct {
	Server   string
	Services map[string]client.Service
	Events   []string // the latest last, from Event
	Trouble  string   // why it may be out of date; "" when it is not
}

// shownEvents is how many events have a place under the hosts.
const shownEvents = 8

// Lines draws s into height lines of width columns at most. What does not fit is
// left out, and counted.
func (s Screen) Lines(now time.Time, width, height int) []string {
	var b bytes.Buffer
	_ = Hosts(&b, now, s.Services, true) // a Buffer takes everything
	table := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	events := s.Events[max(0, len(s.Events)-shownEvents):]

	room := height - 2 // the heading
	if len(events) > 0 {
		room -= len(events) + 1
	}
	if room = max(room, 2); len(table) > room {
		table = append(table[:room-1], fmt.Sprintf("… and %d more, rollcall watch SERVICE shows one service", len(table)-room+1))
	}
	lines := append([]string{s.heading(now), ""}, table...)
	if len(events) > 0 {
		lines = append(append(lines, ""), events...)
	}
	lines = lines[:min(len(lines), height)]
	for i, line := range lines {
		lines[i] = clip(line, width)
	}
	return lines
}

func (s Screen) heading(now time.Time) string {
	served, of := 0, 0
	for _, svc := range s.Services {
		n, all := count(svc.Hosts)
		served, of = served+n, of+all
	}
	said := fmt.Sprintf("%s  %s  %d services, %d of %d hosts served", now.Format(time.TimeOnly), s.Server, len(s.Services), served, of)
	if s.Trouble != "" {
		said += "  OUT OF DATE: " + s.Trouble
	}
	return client.Printable(said)
}

func clip(line string, width int) string {
	if runes := []rune(line); len(runes) > width {
		return string(runes[:max(width-1, 0)]) + "…"
	}
	return line
}
