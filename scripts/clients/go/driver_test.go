package catraca

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes the tests' program a client that is told line by line what to do, where CATRACA_DRIVER is set: what
// scripts/clients/test_clients.py drives.
func TestMain(m *testing.M) {
	if os.Getenv("CATRACA_DRIVER") == "" {
		os.Exit(m.Run())
	}
	d := &driver{output: bufio.NewWriter(os.Stdout)}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Split(lines.Text(), "\t")
		d.fields = map[string]string{}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			decoded, err := url.PathUnescape(value)
			if err != nil {
				panic(err)
			}
			d.fields[key] = decoded
		}
		if result, err := d.do(words[0]); err != nil {
			d.say("error", ofError(err)...)
		} else {
			d.say("ok", result...)
		}
	}
}

type driver struct {
	client  *Client
	fields  map[string]string
	replies chan Reply
	lock    sync.Mutex
	output  *bufio.Writer
}

func (d *driver) say(word string, pairs ...interface{}) {
	d.lock.Lock()
	defer d.lock.Unlock()
	fmt.Fprint(d.output, word)
	for at := 0; at < len(pairs); at += 2 {
		fmt.Fprintf(d.output, "\t%v=%s", pairs[at], url.PathEscape(fmt.Sprint(pairs[at+1])))
	}
	fmt.Fprintln(d.output)
	d.output.Flush()
}

func (d *driver) number(key string) uint64 {
	if d.fields[key] == "" {
		return 0
	}
	number, err := strconv.ParseUint(d.fields[key], 0, 64)
	if err != nil {
		panic(err)
	}
	return number
}

func (d *driver) millis(key string) time.Duration {
	return time.Duration(d.number(key)) * time.Millisecond
}

func (d *driver) bytes(key string) (raw [16]byte) {
	decoded, _ := hex.DecodeString(d.fields[key])
	copy(raw[:], decoded)
	return raw
}

func (d *driver) transaction() Transaction {
	t := Transaction{
		ID: d.fields["id"], Payer: d.fields["payer"], Payee: d.fields["payee"],
		AmountCentavos: int64(d.number("amount_centavos")), EventTimeNs: d.number("event_time_ns"),
		Budget: time.Duration(d.number("budget_us")) * time.Microsecond, Rail: Rail(d.number("rail")),
		Channel: Channel(d.number("channel")), Flags: uint16(d.number("flags")), PayerAccount: d.number("payer_account"),
		PayeeAccount: d.number("payee_account"), PixKey: d.bytes("pix_key"), Device: d.number("device"),
		PayerISPB: d.fields["payer_ispb"], PayeeISPB: d.fields["payee_ispb"], TraceID: d.bytes("trace_id"),
	}
	if d.fields["ip"] != "" {
		t.IP = netip.MustParseAddr(d.fields["ip"])
	}
	return t
}

func (d *driver) tls() *TLS {
	if d.fields["ca_file"] == "" {
		return nil
	}
	f := d.fields
	return &TLS{CAFile: f["ca_file"], CertificateFile: f["certificate_file"], KeyFile: f["key_file"]}
}

func (d *driver) do(command string) ([]interface{}, error) {
	ctx := context.Background()
	switch command {
	case "document":
		document, err := CanonicalDocument(d.fields["text"])
		return []interface{}{"canonical", document, "masked", MaskedDocument(document)}, err
	case "show":
		t := d.transaction()
		return []interface{}{"text", fmt.Sprintf("%v %+v %#v %s", t, &t, t, StoredDecision{Transaction: t})}, nil
	case "encode":
		return d.encode()
	case "decode":
		raw, _ := hex.DecodeString(d.fields["hex"])
		if len(raw) < headerLen {
			return nil, errors.New("no header")
		}
		correlation, answer, err := decodeReply(raw)
		return append([]interface{}{"correlation", correlation}, ofAnswer(answer)...), err
	case "connect":
		d.replies = make(chan Reply, 1<<17)
		client, err := Connect(ctx, Options{
			Addresses: strings.Split(d.fields["address"], ","), AnyRole: d.fields["role"] == "any",
			Credential: d.fields["credential"], Name: d.fields["name"], InFlight: uint32(d.number("in_flight")),
			ConnectTimeout: d.millis("connect_timeout_ms"), AnswerTimeout: d.millis("answer_timeout_ms"),
			ReconnectBase: d.millis("base_ms"), ReconnectMax: d.millis("max_ms"), Lazy: d.fields["lazy"] != "",
			TLS:    d.tls(),
			timing: timing{d.millis("silence_ms"), d.millis("look_every_ms"), d.millis("look_time_ms")},
		})
		d.client = client
		return nil, err
	case "close":
		if d.client != nil {
			d.client.Close()
		}
		return nil, nil
	case "welcome":
		return ofAnswer(d.client.Welcome()), nil
	case "decide":
		decision, err := d.client.Decide(ctx, d.transaction())
		return ofAnswer(decision), err
	case "submit":
		replies := d.client.Submit(d.transaction())
		into := d.replies
		go func() { into <- <-replies }()
		return nil, nil
	case "receive":
		reply := <-d.replies
		return ofAnswer(reply.Decision), reply.Err
	case "lookup":
		stored, err := d.client.Lookup(ctx, d.fields["id"], d.fields["payer"])
		return ofAnswer(stored), err
	case "ping":
		clock, err := d.client.Ping(ctx)
		return []interface{}{"server_time_ns", clock}, err
	case "renew":
		expiresAtNs, err := d.client.Renew(ctx, d.fields["token"])
		return ofAnswer(authState(expiresAtNs)), err
	case "token":
		return ofAnswer(authState(d.client.TokenExpiresAtNs())), nil
	case "cluster":
		state, err := d.client.Cluster(ctx)
		return ofAnswer(state), err
	case "pay":
		d.pay(ctx)
		return nil, nil
	}
	panic("unknown command " + command)
}

// pay has 32 goroutines pay over the one client, and tells each answer.
func (d *driver) pay(ctx context.Context) {
	numbers, group := make(chan uint64), sync.WaitGroup{}
	for range [32]struct{}{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				t := d.transaction()
				t.ID, t.AmountCentavos = fmt.Sprint(t.ID, number), int64(number)
				decision, err := d.client.Decide(ctx, t)
				said := []interface{}{"number", number}
				if err != nil {
					d.say("answer", append(said, ofError(err)...)...)
				} else {
					d.say("answer", append(said, ofAnswer(decision)...)...)
				}
			}
		}()
	}
	until := d.fields["until"]
	for number := uint64(1); number <= d.number("count"); number++ {
		if until != "" {
			// Not as fast as it goes, and until there is that file.
			time.Sleep(time.Millisecond)
			if _, err := os.Stat(until); err == nil {
				break
			}
		}
		numbers <- number
	}
	close(numbers)
	group.Wait()
}

func (d *driver) encode() ([]interface{}, error) {
	var kind byte
	var body []byte
	var err error
	switch d.fields["kind"] {
	case "HELLO":
		raw, err := greeting(d.fields["credential"], d.fields["client_name"], uint32(d.number("in_flight")), d.number("correlation"))
		return []interface{}{"hex", hex.EncodeToString(raw)}, err
	case "AUTH":
		raw := tokenFrames([]byte(d.fields["token"]), d.number("correlation"))
		return []interface{}{"hex", hex.EncodeToString(raw)}, checkToken(d.fields["token"])
	case "SUBMIT":
		t := d.transaction()
		kind = kindSubmit
		if body, err = t.encode(); err == nil {
			body = submitBody(body)
		}
	case "LOOKUP":
		kind = kindLookup
		body, err = lookupBody(d.fields["id"], d.fields["payer"])
	case "PING":
		kind, body = kindPing, make([]byte, 8)
	case "CLUSTER":
		kind, body = kindCluster, describeBody()
	}
	return []interface{}{"hex", hex.EncodeToString(frame(kind, d.number("correlation"), body))}, err
}

func ofError(err error) []interface{} {
	said := []interface{}{"text", err.Error(), "type", "other"}
	if known, ok := err.(Error); ok {
		said = append(said, "recorded", known.Recorded())
	}
	switch err := err.(type) {
	case *DocumentError:
		return append(said, "type", "document", "reason", err.Reason)
	case *FieldError:
		return append(said, "type", "field")
	case *ConnectError:
		return append(said, "type", "connect", "no_primary", err.NoPrimary)
	case *NoAnswerError:
		return append(said, "type", "no_answer")
	case *ProtocolError:
		return append(said, "type", "protocol")
	case *Refused:
		return append(said, "type", "refused", "code", uint16(err.Code), "retry_after_ms", err.RetryAfter.Milliseconds(),
			"detail", err.Detail, "closing", bit(err.Closing, 1))
	}
	return said
}

func bit(set bool, value int) int {
	if set {
		return value
	}
	return 0
}

// ofAnswer names what an answer says as PROTOCOL.md does.
func ofAnswer(answer interface{}) []interface{} {
	switch a := answer.(type) {
	case *Welcome:
		return []interface{}{"kind", "WELCOME", "role", 2 - bit(a.Primary, 1), "durability", uint8(a.Durability), "epoch", a.Epoch,
			"node_id", hex.EncodeToString(a.NodeID[:]), "cluster_id", hex.EncodeToString(a.ClusterID[:]), "shards", a.Shards,
			"max_frame", a.MaxFrame, "in_flight", a.InFlight, "primary", a.PrimaryAddress}
	case *Decision:
		if a == nil {
			return nil
		}
		return []interface{}{"kind", "VERDICT", "verdict", uint8(a.Verdict),
			"flags", bit(a.Duplicate, 1) | bit(a.Degraded, 2) | bit(a.ShadowDisagrees, 4), "score", a.Score,
			"policy_version", a.PolicyVersion, "blacklist_version", a.BlacklistVersion, "matched_rules", a.MatchedRules,
			"shard", a.Shard, "epoch", a.Epoch, "lsn", a.LSN, "receipt", a.Receipt, "reason", a.Reason}
	case *StoredDecision:
		if a == nil {
			return nil
		}
		said := []interface{}{"kind", "RECORD", "epoch", a.Epoch, "shard", a.Shard, "segment", a.Segment, "block_offset", a.BlockOffset,
			"chain", hex.EncodeToString(a.Chain[:]), "extension", hex.EncodeToString(a.Extension), "verdict", uint8(a.Verdict),
			"record_flags", a.Flags, "score", a.Score, "reason", a.Reason, "payer_source", a.PayerSource,
			"payee_source", a.PayeeSource, "policy_version", a.PolicyVersion, "lsn", a.LSN, "decided_at_ns", a.DecidedAtNs,
			"snapshot_id", a.SnapshotID, "overlay_sequence", a.OverlaySequence, "matched_rules", a.MatchedRules,
			"list_day", a.ListDay, "list_sequence", a.ListSequence, "institution", a.Institution, "submitter", a.Submitter}
		return append(said, ofTransaction(a.Transaction)...)
	case authState:
		return []interface{}{"kind", "AUTH_STATE", "expires_at_ns", uint64(a)}
	case pong:
		return []interface{}{"kind", "PONG", "server_time_ns", uint64(a)}
	case *ClusterState:
		if a == nil {
			return nil
		}
		return []interface{}{"kind", "CLUSTER_STATE", "role", 2 - bit(a.Primary, 1), "durability", uint8(a.Durability),
			"in_sync", bit(a.InSync, 1), "connected", bit(a.Connected, 1), "epoch", a.Epoch,
			"node_id", hex.EncodeToString(a.NodeID[:]), "cluster_id", hex.EncodeToString(a.ClusterID[:]),
			"peer_node_id", hex.EncodeToString(a.PeerNodeID[:]), "behind_records", a.BehindRecords, "behind_bytes", a.BehindBytes,
			"silence_ms", a.SilenceMs, "primary", a.PrimaryAddress, "peer", a.PeerAddress}
	case *Refused:
		return append([]interface{}{"kind", "ERROR"}, ofError(a)...)
	}
	return nil
}

func ofTransaction(t Transaction) []interface{} {
	ip := ""
	if t.IP.IsValid() {
		ip = t.IP.String()
	}
	return []interface{}{"id", t.ID, "payer", t.Payer, "payee", t.Payee, "amount_centavos", t.AmountCentavos,
		"event_time_ns", t.EventTimeNs, "budget_us", t.Budget.Microseconds(), "rail", uint8(t.Rail), "channel", uint8(t.Channel),
		"flags", t.Flags, "payer_account", t.PayerAccount, "payee_account", t.PayeeAccount,
		"pix_key", hex.EncodeToString(t.PixKey[:]), "device", t.Device, "ip", ip, "payer_ispb", t.PayerISPB,
		"payee_ispb", t.PayeeISPB, "trace_id", hex.EncodeToString(t.TraceID[:])}
}
