package database

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, version 2 (go.etcd.io/bbolt/internal/common). Numbers
// are in the machine's byte order.
const (
	magic         = 0xED0CDAED
	formatVersion = 2
	headerSize    = 16 // of a page: id, flags, count, overflow
	elementSize   = 16 // of an entry in a branch or a leaf
	metaSize      = 64
	bucketSize    = 16 // root, sequence

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10

	bucketFlag = 0x01
	noFreelist = ^uint64(0)

	firstPage = 2 // after the two headers
)

var order = binary.NativeEndian

// meta is one of the two headers: bbolt writes them in turn.
type meta struct {
	pageSize             uint64
	root, freelist, high uint64 // high: the first page beyond those in use
	transaction          uint64
}

// checker walks the trees of a file. It reads each page at most once and keeps one
// bit for each, so time and memory are bounded by the size of the file.
type checker struct {
	file io.ReaderAt
	meta
	seen []bool
	todo []subtree
}

// subtree is a page to visit, and the keys that may be below it.
type subtree struct {
	page     uint64
	from, to []byte // to is excluded; nil: no bound
}

// check reports what is wrong with the structure of a bbolt file: whatever passes
// makes bbolt neither panic nor loop. It reads the file with plain reads, and
// reports whether one of the two headers is no good, which bbolt can do without.
func check(file io.ReaderAt, size int64) (oneHeader bool, err error) {
	m, oneHeader, err := readMeta(file, size)
	if err != nil {
		return oneHeader, err
	}
	if m.high < firstPage || m.high > uint64(size)/m.pageSize {
		return oneHeader, fmt.Errorf("%d bytes are missing at its end", int64(m.high*m.pageSize)-size)
	}
	c := &checker{file: file, meta: m, seen: make([]bool, m.high), todo: []subtree{{page: m.root}}}
	for len(c.todo) > 0 {
		next := c.todo[len(c.todo)-1]
		c.todo = c.todo[:len(c.todo)-1]
		if err := c.visit(next); err != nil {
			return oneHeader, fmt.Errorf("page %d: %w", next.page, err)
		}
	}
	if err := c.free(); err != nil {
		return oneHeader, fmt.Errorf("list of free pages: %w", err)
	}
	return oneHeader, nil
}

// readMeta finds the header that bbolt would use: the newest one that is good.
func readMeta(file io.ReaderAt, size int64) (best meta, one bool, err error) {
	first, err := metaAt(file, 0)
	good := 0
	if err == nil {
		best, good = first, 1
	}
	for page := int64(1024); page <= 1024<<14 && page+headerSize+metaSize <= size; page <<= 1 {
		if good > 0 && first.pageSize != uint64(page) {
			continue
		}
		second, err2 := metaAt(file, page)
		if err2 != nil || second.pageSize != uint64(page) {
			continue
		}
		if good == 0 || second.transaction > best.transaction {
			best = second
		}
		good++
		break
	}
	if good == 0 {
		return best, false, err
	}
	return best, good == 1, nil
}

func metaAt(file io.ReaderAt, offset int64) (meta, error) {
	b := make([]byte, metaSize)
	if _, err := file.ReadAt(b, offset+headerSize); err != nil {
		return meta{}, errors.New("it is too short for its header")
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m := meta{
		pageSize: uint64(order.Uint32(b[8:])), root: order.Uint64(b[16:]), freelist: order.Uint64(b[32:]),
		high: order.Uint64(b[40:]), transaction: order.Uint64(b[48:]),
	}
	switch {
	case order.Uint32(b) != magic:
		return meta{}, errors.New("it is not a database")
	case order.Uint32(b[4:]) != formatVersion:
		return meta{}, fmt.Errorf("its format is version %d: want %d", order.Uint32(b[4:]), formatVersion)
	case order.Uint64(b[metaSize-8:]) != sum.Sum64():
		return meta{}, errors.New("the checksums of its headers do not match")
	case m.pageSize < 1024 || m.pageSize > 1024<<14 || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("its page size is %d", m.pageSize)
	}
	return m, nil
}

// read reads a page that has not been read before, with its overflow.
func (c *checker) read(id uint64) ([]byte, error) {
	if id < firstPage || id >= c.high {
		return nil, fmt.Errorf("it is outside of the file's %d pages", c.high)
	}
	header := make([]byte, headerSize)
	if _, err := c.file.ReadAt(header, int64(id*c.pageSize)); err != nil {
		return nil, err
	}
	if own := order.Uint64(header); own != id {
		return nil, fmt.Errorf("its header names page %d", own)
	}
	pages := uint64(order.Uint32(header[12:])) + 1
	if pages > c.high-id {
		return nil, fmt.Errorf("its %d pages reach beyond the end", pages)
	}
	for i := id; i < id+pages; i++ {
		if c.seen[i] {
			return nil, errors.New("it is used twice")
		}
		c.seen[i] = true
	}
	b := make([]byte, pages*c.pageSize)
	_, err := c.file.ReadAt(b, int64(id*c.pageSize))
	return b, err
}

// visit checks one page of a tree, and notes those below it.
func (c *checker) visit(at subtree) error {
	b, err := c.read(at.page)
	if err != nil {
		return err
	}
	switch order.Uint16(b[8:]) {
	case branchPage:
		return c.branch(b, at)
	case leafPage:
		return c.leaf(b, at)
	default:
		return fmt.Errorf("its type is %#x", order.Uint16(b[8:]))
	}
}

func (c *checker) branch(b []byte, at subtree) error {
	count := int(order.Uint16(b[10:]))
	if count == 0 {
		return errors.New("it has no pages below it")
	}
	if headerSize+count*elementSize > len(b) {
		return fmt.Errorf("its %d entries do not fit in", count)
	}
	below := make([]subtree, 0, count)
	var before []byte
	for i := range count {
		e := b[headerSize+i*elementSize:]
		key, err := part(e, uint64(order.Uint32(e)), order.Uint32(e[4:]))
		if err != nil {
			return err
		}
		if i > 0 {
			below[i-1].to = key
		}
		if err := inOrder(before, key, at); err != nil {
			return err
		}
		before = key
		below = append(below, subtree{page: order.Uint64(e[8:]), from: key, to: at.to})
	}
	c.todo = append(c.todo, below...)
	return nil
}

// inOrder checks that key follows before and is within the bounds of its page.
func inOrder(before, key []byte, at subtree) error {
	switch {
	case len(key) == 0:
		return errors.New("a key is empty")
	case before != nil && bytes.Compare(before, key) >= 0,
		at.from != nil && bytes.Compare(key, at.from) < 0,
		at.to != nil && bytes.Compare(key, at.to) >= 0:
		return errors.New("its keys are not in order")
	default:
		return nil
	}
}

func (c *checker) leaf(b []byte, at subtree) error {
	count := int(order.Uint16(b[10:]))
	if headerSize+count*elementSize > len(b) {
		return fmt.Errorf("its %d entries do not fit in", count)
	}
	var before []byte
	for i := range count {
		e := b[headerSize+i*elementSize:]
		flags, pos, keySize, valueSize := order.Uint32(e), uint64(order.Uint32(e[4:])), order.Uint32(e[8:]), order.Uint32(e[12:])
		key, err := part(e, pos, keySize)
		if err != nil {
			return err
		}
		if err := inOrder(before, key, at); err != nil {
			return err
		}
		before = key
		value, err := part(e, pos+uint64(keySize), valueSize)
		if err != nil {
			return err
		}
		switch flags {
		case 0:
		case bucketFlag:
			if err := c.bucket(value); err != nil {
				return fmt.Errorf("bucket %.40q: %w", key, err)
			}
		default:
			return fmt.Errorf("an entry has the flags %#x", flags)
		}
	}
	return nil
}

// bucket notes the tree of a bucket, or checks the one page that it holds itself.
func (c *checker) bucket(value []byte) error {
	if len(value) < bucketSize {
		return errors.New("its description is truncated")
	}
	if root := order.Uint64(value); root != 0 {
		c.todo = append(c.todo, subtree{page: root})
		return nil
	}
	page := value[bucketSize:]
	if len(page) < headerSize || order.Uint16(page[8:]) != leafPage {
		return errors.New("its page is no leaf")
	}
	return c.leaf(page, subtree{})
}

// part is what an entry refers to, counted from its own place.
func part(from []byte, pos uint64, size uint32) ([]byte, error) {
	end := pos + uint64(size)
	if end > uint64(len(from)) {
		return nil, errors.New("an entry reaches beyond its page")
	}
	return from[pos:end:end], nil
}

// free checks the list of pages that bbolt may write to: none of them is in use.
func (c *checker) free() error {
	if c.freelist == noFreelist {
		return nil
	}
	b, err := c.read(c.freelist)
	if err != nil {
		return err
	}
	if order.Uint16(b[8:]) != freelistPage {
		return fmt.Errorf("page %d is of another type", c.freelist)
	}
	count, ids := uint64(order.Uint16(b[10:])), b[headerSize:]
	if count == 0xFFFF { // the number follows
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids))/8 {
		return fmt.Errorf("its %d entries do not fit in", count)
	}
	for i := range count {
		id := order.Uint64(ids[8*i:])
		if id < firstPage || id >= c.high || c.seen[id] {
			return fmt.Errorf("page %d is in use, listed twice or outside of the file", id)
		}
		c.seen[id] = true
	}
	return nil
}
