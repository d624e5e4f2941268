package fleet

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

const (
	receiptSize = 8 + 1 + 4 // bytes, without Behind
	maxBehind   = 400
)

// ReceiptState says how far an announcement has come.
type ReceiptState byte

// The states of a receipt.
const (
	ReceiptPending ReceiptState = 1 // some Envoy has not acknowledged it yet
	ReceiptServing ReceiptState = 2 // every Envoy has the endpoint
	ReceiptGone    ReceiptState = 3 // no Envoy has it
	ReceiptDenied  ReceiptState = 4 // the server serves it to nobody
)

// Receipt is how far a member's announcement has come, as an EDS server reports it to the
// member.
type Receipt struct {
	Server   uuid.UUID // who says so; filled in by the receiver
	Revision uint64    // of the announcement, see fleet.Member
	State    ReceiptState
	Clients  int    // xDS clients of the service at that server
	Behind   string // with ReceiptPending: the node ids that are missing; with ReceiptDenied: why; shortened
}

// EncodeReceipt writes a receipt, without its Server.
func EncodeReceipt(r Receipt) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, receiptSize+len(r.Behind)), r.Revision)
	b = append(b, byte(r.State))
	b = binary.BigEndian.AppendUint32(b, uint32(max(r.Clients, 0)))
	return append(b, r.Behind[:min(len(r.Behind), maxBehind)]...)
}

// DecodeReceipt reads what EncodeReceipt wrote, from the network. Behind is as the sender
// wrote it.
func DecodeReceipt(b []byte) (Receipt, error) {
	if len(b) < receiptSize || len(b) > receiptSize+maxBehind {
		return Receipt{}, fmt.Errorf("receipt is %d bytes long", len(b))
	}
	r := Receipt{
		Revision: binary.BigEndian.Uint64(b), State: ReceiptState(b[8]),
		Clients: int(binary.BigEndian.Uint32(b[9:])), Behind: string(b[receiptSize:]),
	}
	if r.State < ReceiptPending || r.State > ReceiptDenied {
		return Receipt{}, fmt.Errorf("receipt has the unknown state %d", r.State)
	}
	return r, nil
}
