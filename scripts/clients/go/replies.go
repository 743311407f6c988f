package catraca

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Verdict is what was decided. There is no zero verdict, so that nothing is approved by accident.
type Verdict uint8

// The verdicts of PROTOCOL.md. A server that sends another one is left.
const (
	Approve Verdict = iota + 1
	Review
	Deny
)

func (v Verdict) String() string {
	switch v {
	case Approve:
		return "approve"
	case Review:
		return "review"
	case Deny:
		return "deny"
	}
	return fmt.Sprintf("no verdict (%d)", uint8(v))
}

// Decision is what was decided. The record lies at LSN of stream Shard; Receipt proves later that it was not altered.
type Decision struct {
	Verdict Verdict
	// Duplicate: decided before; this is that decision.
	Duplicate bool
	// Degraded: decided without an answer that the policy asked for.
	Degraded bool
	// ShadowDisagrees: with the rules in shadow the verdict would be another one.
	ShadowDisagrees bool
	// Score is 0 to 1000.
	Score            uint16
	PolicyVersion    uint32
	BlacklistVersion uint64
	// MatchedRules has one bit for each rule that matched.
	MatchedRules uint64
	Shard        uint16
	Epoch        uint32
	LSN          uint64
	Receipt      uint64
	// Reason is the first thing that settled the verdict.
	Reason Reason
}

// Durability is where an answered decision is safe.
type Durability uint8

// The durabilities of PROTOCOL.md.
const (
	Single Durability = iota + 1
	Sync
	Solo
)

// Welcome is what the server said of itself.
type Welcome struct {
	// Primary: this node decides.
	Primary           bool
	Durability        Durability
	Epoch             uint32
	NodeID, ClusterID [16]byte
	Shards            uint16
	// MaxFrame is the largest request that the server takes, bytes.
	MaxFrame uint32
	// InFlight is how many unanswered frames the connection may have.
	InFlight uint32
	// PrimaryAddress is where the primary is, where the node knows.
	PrimaryAddress string
}

// ClusterState is a node's part in its cluster.
type ClusterState struct {
	Primary                       bool
	Durability                    Durability
	InSync, Connected             bool
	Epoch                         uint32
	NodeID, ClusterID, PeerNodeID [16]byte
	BehindRecords, BehindBytes    uint64
	// SilenceMs is since the other node was last heard; math.MaxUint64 where it never was.
	SilenceMs                   uint64
	PrimaryAddress, PeerAddress string
}

// NeverHeard is ClusterState.SilenceMs where the other node never was.
const NeverHeard = math.MaxUint64

// StoredDecision is a stored decision with its transaction, documents in full: personal data.
type StoredDecision struct {
	Verdict                  Verdict
	Reason                   Reason
	Flags                    uint8
	Score                    uint16
	PayerSource, PayeeSource uint8
	PolicyVersion            uint32
	LSN                      uint64
	// DecidedAtNs is the server's clock at the decision, nanoseconds since 1970 UTC.
	DecidedAtNs     uint64
	SnapshotID      uint64
	OverlaySequence uint64
	MatchedRules    uint64
	// Institution is whose transaction it is, and Submitter the client that sent it.
	Institution uint16
	Submitter   string
	// ListDay is in days since 1970-01-01; 0 unknown.
	ListDay      uint16
	ListSequence uint64
	Shard        uint16
	Epoch        uint32
	Segment      uint32
	BlockOffset  uint32
	Chain        [32]byte
	Transaction  Transaction
	Extension    []byte
}

// Reason is why it was decided so. Codes grow with what is decided on: an unknown one is shown as its number.
type Reason uint8

func (r Reason) String() string {
	names := [...]string{"clear", "payer_listed", "payee_listed", "both_listed", "allowed", "rule", "score"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprint(uint8(r))
}

// String shows the transaction masked.
func (s StoredDecision) String() string {
	return fmt.Sprintf("%v of %v, record %d of stream %d", s.Verdict, s.Transaction, s.LSN, s.Shard)
}

// GoString is String, so that %#v shows no more.
func (s StoredDecision) GoString() string { return s.String() }

// pong is the server's clock, nanoseconds since 1970 UTC.
type pong uint64

// authState is until when a token counts, nanoseconds since 1970 UTC; 0 for no end.
type authState uint64

// decodeReply gives a reply's correlation and what it says: a *Welcome, *Decision, *StoredDecision, pong, *ClusterState or
// *Refused.
func decodeReply(raw []byte) (uint64, interface{}, error) {
	length, err := replyLen(raw)
	if err != nil {
		return 0, nil, err
	}
	if length != len(raw) {
		return 0, nil, &ProtocolError{"a frame is not as long as it says"}
	}
	body, more := raw[headerLen:], raw[6]&1 == 1
	var answer interface{}
	switch raw[4] {
	case kindWelcome:
		answer, err = decodeWelcome(body)
	case kindVerdict:
		answer, err = decodeDecision(body)
	case kindRecord:
		answer, err = decodeStored(body)
	case kindPong:
		answer = pong(binary.LittleEndian.Uint64(body))
	case kindClusterState:
		answer, err = decodeClusterState(body)
	case kindAuthState:
		answer = authState(binary.LittleEndian.Uint64(body))
	default:
		answer, err = decodeError(body, more)
	}
	if err != nil {
		return 0, nil, err
	}
	return binary.LittleEndian.Uint64(raw[8:]), answer, nil
}

func decodeWelcome(b []byte) (*Welcome, error) {
	w := &Welcome{
		Primary: b[1] == 1, Durability: Durability(b[2]), Epoch: binary.LittleEndian.Uint32(b[4:]),
		NodeID: *(*[16]byte)(b[8:24]), ClusterID: *(*[16]byte)(b[24:40]),
		Shards: binary.LittleEndian.Uint16(b[40:]), MaxFrame: binary.LittleEndian.Uint32(b[44:]),
		InFlight: binary.LittleEndian.Uint32(b[48:]), PrimaryAddress: address(b[52:100]),
	}
	const submitLen = headerLen + transactionLen + 4
	if b[0] != protocolVersion || !isPlace(b[1], b[2]) || w.Shards == 0 || w.InFlight == 0 || w.MaxFrame < submitLen {
		return nil, &ProtocolError{"a WELCOME with a value that it can't have"}
	}
	return w, nil
}

func decodeDecision(b []byte) (*Decision, error) {
	d := &Decision{
		Verdict: Verdict(b[0]), Duplicate: b[1]&1 != 0, Degraded: b[1]&2 != 0, ShadowDisagrees: b[1]&4 != 0,
		Score: binary.LittleEndian.Uint16(b[2:]), PolicyVersion: binary.LittleEndian.Uint32(b[4:]),
		BlacklistVersion: binary.LittleEndian.Uint64(b[8:]), MatchedRules: binary.LittleEndian.Uint64(b[16:]),
		Shard: binary.LittleEndian.Uint16(b[24:]), Epoch: binary.LittleEndian.Uint32(b[26:]),
		LSN: binary.LittleEndian.Uint64(b[30:]), Receipt: binary.LittleEndian.Uint64(b[38:]),
		Reason: Reason(b[46]),
	}
	if d.Verdict < Approve || d.Verdict > Deny || d.Score > 1000 {
		return nil, &ProtocolError{"a VERDICT with a value that it can't have"}
	}
	return d, nil
}

func decodeStored(b []byte) (*StoredDecision, error) {
	const placeLen, recordLen = 48, 256
	r, extension := b[placeLen:placeLen+recordLen], b[placeLen+recordLen:]
	s := &StoredDecision{
		Verdict: Verdict(r[4]), Flags: r[5], Score: binary.LittleEndian.Uint16(r[6:]), Reason: Reason(r[8]),
		PayerSource: r[9], PayeeSource: r[10], PolicyVersion: binary.LittleEndian.Uint32(r[12:]),
		LSN: binary.LittleEndian.Uint64(r[16:]), DecidedAtNs: binary.LittleEndian.Uint64(r[24:]),
		SnapshotID: binary.LittleEndian.Uint64(r[32:]), OverlaySequence: binary.LittleEndian.Uint64(r[40:]),
		MatchedRules: binary.LittleEndian.Uint64(r[48:]), ListDay: binary.LittleEndian.Uint16(r[56:]),
		ListSequence: binary.LittleEndian.Uint64(r[58:]), Institution: binary.LittleEndian.Uint16(r[66:]),
		Submitter: text(r[68:84]), Transaction: decodeTransaction(r[84:]),
		Shard: binary.LittleEndian.Uint16(b[4:]), Epoch: binary.LittleEndian.Uint32(b),
		Segment: binary.LittleEndian.Uint32(b[8:]), BlockOffset: binary.LittleEndian.Uint32(b[12:]),
		Chain: *(*[32]byte)(b[16:48]), Extension: append([]byte{}, extension...),
	}
	lengths := [2]int{int(binary.LittleEndian.Uint16(b[6:])), int(binary.LittleEndian.Uint16(r[2:]))}
	if r[0] != 1 || r[1] != 1 || s.Verdict < Approve || s.Verdict > Deny || s.Score > 1000 ||
		lengths != [2]int{len(extension), len(extension)} {
		return nil, &ProtocolError{"a RECORD that is no decision, or has a value that it can't have"}
	}
	return s, nil
}

func decodeClusterState(b []byte) (*ClusterState, error) {
	c := &ClusterState{
		Primary: b[0] == 1, Durability: Durability(b[1]), InSync: b[2] == 1, Connected: b[3] == 1,
		Epoch: binary.LittleEndian.Uint32(b[4:]), NodeID: *(*[16]byte)(b[8:24]), ClusterID: *(*[16]byte)(b[24:40]),
		PeerNodeID: *(*[16]byte)(b[40:56]), BehindRecords: binary.LittleEndian.Uint64(b[56:]),
		BehindBytes: binary.LittleEndian.Uint64(b[64:]), SilenceMs: binary.LittleEndian.Uint64(b[72:]),
		PrimaryAddress: address(b[80:128]), PeerAddress: address(b[128:176]),
	}
	if !isPlace(b[0], b[1]) || b[2] > 1 || b[3] > 1 {
		return nil, &ProtocolError{"a CLUSTER_STATE with a value that it can't have"}
	}
	return c, nil
}

func decodeError(b []byte, closing bool) (*Refused, error) {
	code, detailLen := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[2:])
	if code < uint16(BadFrame) || code > uint16(Late) || detailLen > 128 {
		return nil, &ProtocolError{"an ERROR with a value that it can't have"}
	}
	after := time.Duration(binary.LittleEndian.Uint32(b[4:])) * time.Millisecond
	return &Refused{Code: Code(code), RetryAfter: after, Detail: text(b[8 : 8+detailLen]), Closing: closing}, nil
}

// isPlace: codes of a role and a durability.
func isPlace(role, durability byte) bool {
	return role >= 1 && role <= 2 && durability >= 1 && durability <= 3
}
