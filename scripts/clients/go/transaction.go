package catraca

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// MaxBudget is the longest time for an answer, and what a budget of 0 means.
const MaxBudget = 2 * time.Second

const transactionLen = 172

// Rail is the payment arrangement.
type Rail uint8

// The rails of PROTOCOL.md.
const (
	RailOther Rail = iota
	RailPix
	RailTED
	RailBoleto
	RailCard
)

// Channel is where a transaction was started.
type Channel uint8

// The channels of PROTOCOL.md.
const (
	ChannelOther Channel = iota
	ChannelApp
	ChannelWeb
	ChannelAPI
	ChannelBranch
	ChannelATM
)

// Transaction is a payment to decide on. Keep it to send it again: with another event time it would be another one. What is
// unknown stays zero. Hashes are keyed hashes of the caller's.
type Transaction struct {
	// ID is 1 to 32 printable ASCII characters without spaces.
	ID string
	// Payer and Payee are CPFs or CNPJs, with or without mask.
	Payer, Payee   string
	AmountCentavos int64
	// EventTimeNs is when it happened, nanoseconds since 1970 UTC.
	EventTimeNs uint64
	// Budget is the time for the answer, at most MaxBudget; 0 means that. It counts from the call.
	Budget                     time.Duration
	Rail                       Rail
	Channel                    Channel
	Flags                      uint16
	PayerAccount, PayeeAccount uint64
	PixKey                     [16]byte
	Device                     uint64
	// IP is where it came from; the zero Addr where that is unknown.
	IP                   netip.Addr
	PayerISPB, PayeeISPB string
	// TraceID is a W3C trace id. It is no part of what makes two transactions the same.
	TraceID [16]byte
}

// String names no document, account or device in full.
func (t Transaction) String() string {
	shown := func(document string) string {
		if canonical, err := CanonicalDocument(document); err == nil {
			return MaskedDocument(canonical)
		}
		return "***"
	}
	return fmt.Sprintf("transaction %q of %d centavos from %s to %s", t.ID, t.AmountCentavos, shown(t.Payer), shown(t.Payee))
}

// GoString is String, so that %#v shows no more.
func (t Transaction) GoString() string { return t.String() }

// encode gives the bytes of the wire, or what the server would refuse.
func (t *Transaction) encode() ([]byte, error) {
	payer, err := CanonicalDocument(t.Payer)
	if err != nil {
		return nil, err
	}
	payee, err := CanonicalDocument(t.Payee)
	if err != nil {
		return nil, err
	}
	switch {
	case !isID(t.ID):
		return nil, &FieldError{"an id is 1 to 32 printable ASCII characters without spaces"}
	case t.AmountCentavos < 1:
		return nil, &FieldError{"an amount is at least 1 centavo"}
	case t.Budget < 0 || t.Budget > MaxBudget || t.Budget > 0 && t.Budget < time.Microsecond:
		return nil, &FieldError{"a budget is 1 microsecond to 2 s, or 0"}
	case t.Rail > RailCard || t.Channel > ChannelATM:
		return nil, &FieldError{"rail and channel are among the codes of Rail and Channel"}
	case !isISPB(t.PayerISPB) || !isISPB(t.PayeeISPB):
		return nil, &FieldError{"an ISPB is 8 ASCII letters or digits, or empty"}
	}
	raw := make([]byte, transactionLen)
	copy(raw, t.ID)
	copy(raw[32:46], payer)
	copy(raw[46:60], payee)
	binary.LittleEndian.PutUint64(raw[60:], uint64(t.AmountCentavos))
	binary.LittleEndian.PutUint64(raw[68:], t.EventTimeNs)
	setBudget(raw, t.Budget)
	raw[80], raw[81] = byte(t.Rail), byte(t.Channel)
	binary.LittleEndian.PutUint16(raw[82:], t.Flags)
	binary.LittleEndian.PutUint64(raw[84:], t.PayerAccount)
	binary.LittleEndian.PutUint64(raw[92:], t.PayeeAccount)
	copy(raw[100:], t.PixKey[:])
	binary.LittleEndian.PutUint64(raw[116:], t.Device)
	if t.IP.IsValid() {
		address := t.IP.As16()
		copy(raw[124:], address[:])
	}
	copy(raw[140:148], t.PayerISPB)
	copy(raw[148:156], t.PayeeISPB)
	copy(raw[156:], t.TraceID[:])
	return raw, nil
}

// setBudget changes the budget of an encoded transaction, which is no part of what makes two the same.
func setBudget(raw []byte, budget time.Duration) {
	binary.LittleEndian.PutUint32(raw[76:], uint32(budget.Microseconds()))
}

// decodeTransaction reads the bytes of the wire, which a server has sent.
func decodeTransaction(raw []byte) Transaction {
	t := Transaction{
		ID: text(raw[:32]), Payer: text(raw[32:46]), Payee: text(raw[46:60]),
		AmountCentavos: int64(binary.LittleEndian.Uint64(raw[60:])),
		EventTimeNs:    binary.LittleEndian.Uint64(raw[68:]),
		Budget:         time.Duration(binary.LittleEndian.Uint32(raw[76:])) * time.Microsecond,
		Rail:           Rail(raw[80]), Channel: Channel(raw[81]),
		Flags:        binary.LittleEndian.Uint16(raw[82:]),
		PayerAccount: binary.LittleEndian.Uint64(raw[84:]), PayeeAccount: binary.LittleEndian.Uint64(raw[92:]),
		Device:    binary.LittleEndian.Uint64(raw[116:]),
		PayerISPB: text(raw[140:148]), PayeeISPB: text(raw[148:156]),
	}
	copy(t.PixKey[:], raw[100:])
	copy(t.TraceID[:], raw[156:])
	if address := *(*[16]byte)(raw[124:140]); address != ([16]byte{}) {
		t.IP = netip.AddrFrom16(address).Unmap()
	}
	return t
}

func isID(id string) bool {
	if len(id) < 1 || len(id) > 32 {
		return false
	}
	for _, c := range []byte(id) {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

func isISPB(ispb string) bool {
	for _, c := range []byte(ispb) {
		if !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z') {
			return false
		}
	}
	return len(ispb) == 8 || ispb == ""
}
