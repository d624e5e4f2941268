package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// patience bounds every wait.
const patience = 3 * time.Minute

// child is a server in a process of its own.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	orders  *json.Encoder
	replies *json.Decoder
	hello   answer
}

func (b *bench) start(kind string) (*child, error) {
	cmd := exec.Command(b.self, "-serve", kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s server: %w", kind, err)
	}
	c := &child{cmd: cmd, in: in, orders: json.NewEncoder(in), replies: json.NewDecoder(out)}
	if err := c.replies.Decode(&c.hello); err != nil {
		c.stop()
		return nil, fmt.Errorf("the %s server does not start: %w", kind, err)
	}
	return c, nil
}

// tell gives an order and returns the answer.
func (c *child) tell(o order) (answer, error) {
	if err := c.orders.Encode(o); err != nil {
		return answer{}, err
	}
	var a answer
	if err := c.replies.Decode(&a); err != nil {
		return answer{}, fmt.Errorf("the server does not answer: %w", err)
	}
	if a.Error != "" {
		return answer{}, errors.New(a.Error)
	}
	return a, nil
}

// stop ends the server, by force if it does not end by itself.
func (c *child) stop() {
	_ = c.in.Close()
	force := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer force.Stop()
	_ = c.cmd.Wait() // the results have been read already
}
