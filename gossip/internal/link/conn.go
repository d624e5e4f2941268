package link

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// MaxBody is how many bytes a frame carries at most.
	MaxBody = 1 << 10

	// writeWait bounds a write: the kernel's buffer takes many frames, and who reads
	// none of them is not waited for.
	writeWait = 100 * time.Millisecond

	lengthSize = 2  // before each frame
	overhead   = 16 // of encryption
	readBuffer = 64 // bytes; most frames fit
)

// Conn is a stream after its handshake. Write and Close may be called from any
// goroutine, Read from one at a time.
type Conn struct {
	Peer uuid.UUID // who is at the other end

	conn net.Conn
	r    *bufio.Reader
	in   half // Read's alone

	mu  sync.Mutex // guards out
	out half
}

// half is one direction of a stream.
type half struct {
	aead  cipher.AEAD
	count uint64 // of frames so far: the nonce of the next
}

func newConn(conn net.Conn, peer uuid.UUID, key, said []byte, out, in string) (*Conn, error) {
	c := &Conn{Peer: peer, conn: conn, r: bufio.NewReaderSize(conn, readBuffer)}
	var err error
	if c.out.aead, err = newAEAD(tag(key, out, said)); err != nil {
		return nil, err
	}
	if c.in.aead, err = newAEAD(tag(key, in, said)); err != nil {
		return nil, err
	}
	return c, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// next is the nonce of the next frame.
func (h *half) next() []byte {
	nonce := binary.BigEndian.AppendUint64(make([]byte, 4, 12), h.count)
	h.count++
	return nonce
}

// Write sends a frame. After an error the stream is of no further use: Close it.
func (c *Conn) Write(body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("frame is %d bytes long, at most %d are allowed", len(body), MaxBody)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := binary.BigEndian.AppendUint16(make([]byte, 0, lengthSize+len(body)+overhead), uint16(len(body)+overhead))
	b = c.out.aead.Seal(b, c.out.next(), body, b)
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := c.conn.Write(b)
	return err
}

// Read returns the next frame, which is the caller's.
func (c *Conn) Read() ([]byte, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(c.r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < overhead || n > MaxBody+overhead {
		return nil, fmt.Errorf("frame is %d bytes long, at most %d are allowed", n, MaxBody+overhead)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	body, err := c.in.aead.Open(b[:0], c.in.next(), b, length[:])
	if err != nil {
		return nil, errors.New("frame is not of this stream")
	}
	return body, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }
