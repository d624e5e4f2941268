package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/show"
)

func newWatch() *cobra.Command {
	flags := remoteFlags{lines: true}
	c := &cobra.Command{
		Use:   "watch [SERVICE]",
		Short: "Watch what changes until Ctrl-C",
		Long: `On a terminal, shows the hosts and the latest changes and draws them again when something
changes. Elsewhere, writes a line for each change: readable ones, or with -o json
objects with event, id and data as in GET /events; after each "reset" follows what
there is then, in "state".`,
		Example: `  rollcall watch
  rollcall watch myservice -o json | jq 'select(.event == "override")'`,
		Args:              cli.NArgs(0, 1),
		ValidArgsFunction: flags.completeService(),
		RunE: flags.asks(func(ctx context.Context, c *client.Client, out io.Writer, args []string) error {
			if flags.output == "yaml" {
				return cli.Usage(errors.New("--output yaml is not for watch, use json"))
			}
			w := watch{client: c, server: strings.Join(flags.servers, ","), now: time.Now}
			if len(args) == 1 {
				w.service = args[0]
				// Whatever else is wrong, following tells of it, and tries again.
				if err := misspelt(ctx, c, w.service); errors.As(err, new(cli.NotFoundError)) {
					return err
				}
			}
			return w.run(ctx, out, flags.output)
		}),
	}
	flags.add(c)
	return c
}

// watch follows a server.
type watch struct {
	client  *client.Client
	server  string
	service string // the only one, or ""
	now     func() time.Time

	follows map[xdsClient]bool // the service, as far as was heard; owned by who hears
}

// xdsClient is what an event and GET /clients both say of one.
type xdsClient struct{ node, transport, peer string }

// run ends without an error when ctx does.
func (w *watch) run(ctx context.Context, out io.Writer, output string) error {
	var err error
	tty, isTerminal := terminal(out)
	switch {
	case output == "json":
		err = w.follow(ctx, &jsonLines{out})
	case isTerminal:
		err = w.draw(ctx, tty)
	default:
		err = w.follow(ctx, &plainLines{out, w.now})
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// terminal reports whether out is one that can be drawn on.
func terminal(out io.Writer) (*os.File, bool) {
	f, ok := out.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// state asks for what there is now.
func (w *watch) state(ctx context.Context) (map[string]client.Service, error) {
	if w.service == "" {
		got, err := w.client.Services(ctx)
		return got.Value, err
	}
	got, err := w.client.Service(ctx, w.service)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == 404 {
		return map[string]client.Service{}, nil // it may come
	}
	return map[string]client.Service{w.service: got.Value}, err
}

// concerns reports whether e is about what is watched.
func (w *watch) concerns(ctx context.Context, e client.Event) (bool, error) {
	c, err := e.Changed()
	switch {
	case w.service == "" || err != nil:
		return true, nil
	case e.Name == "client":
		return w.concernsClient(ctx, c)
	default:
		return c.Service == "" || c.Service == w.service, nil
	}
}

// concernsClient reports whether an xDS client follows the service, or did until it
// went: the event does not say.
func (w *watch) concernsClient(ctx context.Context, c client.Changed) (bool, error) {
	about := xdsClient{c.Node, c.Transport, c.Peer}
	if c.Change == "removed" {
		defer delete(w.follows, about)
		return w.follows[about], nil
	}
	if _, known := w.follows[about]; !known { // one answer has all that came with it
		if err := w.learn(ctx); err != nil {
			return false, err
		}
	}
	return w.follows[about], nil
}

// learn asks who follows the service. Who is not there any more stays until the event
// of its end.
func (w *watch) learn(ctx context.Context) error {
	if w.service == "" {
		return nil
	}
	got, err := w.client.Clients(ctx)
	if err != nil {
		return err
	}
	if w.follows == nil {
		w.follows = make(map[xdsClient]bool)
	}
	for _, f := range got.Value {
		w.follows[xdsClient{f.Node, f.Transport, f.Peer}] = slices.ContainsFunc(f.Services, func(s client.Followed) bool { return s.Name == w.service })
	}
	return nil
}

// sift passes e to reset or to event, or drops it when it is about another service.
func (w *watch) sift(ctx context.Context, e client.Event, reset func() error, event func(client.Event) error) error {
	if e.Name == client.Reset {
		w.follows = nil
		if err := w.learn(ctx); err != nil {
			return err
		}
		return reset()
	}
	concerns, err := w.concerns(ctx, e)
	if err != nil || !concerns {
		return err
	}
	return event(e)
}

// lines is where changes are written one after the other.
type lines interface {
	reset(state map[string]client.Service) error
	event(e client.Event) error
}

func (w *watch) follow(ctx context.Context, to lines) error {
	reset := func() error {
		state, err := w.state(ctx)
		if err != nil {
			return err
		}
		return to.reset(state)
	}
	return w.client.Follow(ctx, client.Listener{
		Event: func(e client.Event) error { return w.sift(ctx, e, reset, to.event) },
		Lost:  func(err error) { fmt.Fprintln(os.Stderr, "rollcall:", err) },
	})
}

const (
	holdOff = 100 * time.Millisecond // changes that come together are drawn together
	redraw  = time.Second            // for ages to grow
	history = 100                    // events remembered
)

// draw shows a screen on tty. One goroutine follows; this one draws.
func (w *watch) draw(ctx context.Context, tty *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	news := make(chan news) // a slow terminal makes the server wait, which cuts it off
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	ended := make(chan error, 1)
	following.Go(func() { ended <- w.hear(ctx, news) })

	fmt.Fprint(tty, enterScreen)
	defer fmt.Fprint(tty, leaveScreen)
	s := show.Screen{Server: w.server, Trouble: "nothing was heard yet"}
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	var due <-chan time.Time
	for {
		select {
		case err := <-ended:
			return err
		case n := <-news:
			n.into(&s)
			if n.lost == nil && due == nil {
				due = time.After(holdOff)
			}
		case <-due:
			due = nil
			w.refresh(ctx, &s)
		case <-tick.C:
		}
		paint(tty, s, w.now())
	}
}

// news is what follows from one event or a lost stream.
type news struct {
	line string
	lost error
}

func (n news) into(s *show.Screen) {
	if n.lost != nil {
		s.Trouble = n.lost.Error()
	}
	if n.line != "" {
		s.Events = append(s.Events, n.line)
		s.Events = s.Events[max(0, len(s.Events)-history):]
	}
}

// hear passes on what the server says until ctx ends.
func (w *watch) hear(ctx context.Context, to chan<- news) error {
	pass := func(n news) error {
		select {
		case to <- n:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return w.client.Follow(ctx, client.Listener{
		Event: func(e client.Event) error {
			return w.sift(ctx, e, func() error { return pass(news{}) }, func(e client.Event) error { return pass(news{line: show.Event(w.now(), e)}) })
		},
		Opened: func() { _ = pass(news{}) },
		Lost:   func(err error) { _ = pass(news{lost: err}) },
	})
}

func (w *watch) refresh(ctx context.Context, s *show.Screen) {
	services, err := w.state(ctx)
	if err != nil {
		s.Trouble = err.Error()
		return
	}
	s.Services, s.Trouble = services, ""
}

// The control sequences of ECMA-48 and xterm that every terminal in use knows.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	restOfLine  = "\x1b[K"
	restOfPage  = "\x1b[J"
)

// paint draws s over what was there, which does not flicker.
func paint(tty *os.File, s show.Screen, now time.Time) {
	width, height, err := term.GetSize(int(tty.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 80, 24
	}
	drawn := strings.Join(s.Lines(now, width, height), restOfLine+"\r\n")
	fmt.Fprint(tty, home+drawn+restOfLine+restOfPage)
}
