package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec for what is sent
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// markPrefix begins a mark in an endpoint's tags; seven digits follow.
const markPrefix = "mark-"

// message is what a client reads of a discovery response of either kind. That must cost
// little, since the clients share the machine with the server.
type message struct {
	version, nonce string
	resources      int
	mark           int // of the first resource; -1 when there is none
}

// wire is a codec that reads messages.
type wire struct{}

func (wire) Name() string { return "proto" }

func (wire) Marshal(v any) (mem.BufferSlice, error) { return encoding.GetCodecV2("proto").Marshal(v) }

// The fields that both kinds of response have under the same number.
const (
	fieldVersion   protowire.Number = 1
	fieldResources protowire.Number = 2
	fieldNonce     protowire.Number = 5
)

// Unmarshal reads the fields of a response and skips the resources.
func (wire) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		return fmt.Errorf("cannot read into %T", v)
	}
	*m = message{mark: -1}
	r := data.Reader()
	defer r.Close()
	for r.Remaining() > 0 {
		tag, err := varint(r)
		if err != nil {
			return err
		}
		num, kind := protowire.DecodeTag(tag)
		if kind != protowire.BytesType {
			return fmt.Errorf("field %d has wire type %d: want bytes", num, kind)
		}
		n, err := varint(r)
		if err != nil {
			return err
		}
		if err := m.field(num, int(n), r); err != nil {
			return err
		}
	}
	return nil
}

// head is how far into a resource the mark is looked for, in bytes.
const head = 512

func (m *message) field(num protowire.Number, n int, r *mem.Reader) error {
	keep := 0
	switch num {
	case fieldVersion, fieldNonce:
		keep = n
	case fieldResources:
		if m.resources++; m.resources == 1 {
			keep = min(n, head)
		}
	}
	b := make([]byte, keep)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if _, err := r.Discard(n - keep); err != nil {
		return err
	}
	switch num {
	case fieldVersion:
		m.version = string(b)
	case fieldNonce:
		m.nonce = string(b)
	case fieldResources:
		if _, after, ok := bytes.Cut(b, []byte(markPrefix)); ok && len(after) >= 7 {
			m.mark, _ = strconv.Atoi(string(after[:7]))
		}
	}
	return nil
}

func varint(r io.ByteReader) (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errors.New("varint is too long")
}
