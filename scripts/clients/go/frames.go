package catraca

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	protocolVersion = 1
	headerLen       = 16
	// The longest reply of the kinds that this client asks for: a RECORD with the longest extension.
	maxReplyLen = 320 + 4096
	helloLen    = 128
	// The longest credential within HELLO; a longer one comes in AUTH frames behind it, with this flag.
	maxCredentialLen = 64
	flagAuth         = 1
	maxTokenLen      = 8192
	partLen          = 488
)

// Kinds of frames that this client speaks.
const (
	kindHello = iota + 1
	kindWelcome
	kindSubmit
	kindVerdict
	kindLookup
	kindRecord
	kindPing         = 11
	kindPong         = 12
	kindError        = 13
	kindCluster      = 14
	kindClusterState = 15
	kindAuth         = 26
	kindAuthState    = 27
)

func frame(kind byte, correlation uint64, body []byte) []byte {
	raw := make([]byte, headerLen, headerLen+len(body))
	binary.LittleEndian.PutUint32(raw, uint32(headerLen+len(body)))
	raw[4], raw[5] = kind, protocolVersion
	binary.LittleEndian.PutUint64(raw[8:], correlation)
	return append(raw, body...)
}

// greeting is what a connection begins with: HELLO, and behind it a credential that it has no room for.
func greeting(credential, name string, inFlight uint32, correlation uint64) ([]byte, error) {
	if len(credential) > maxTokenLen || len(name) > 40 {
		return nil, &FieldError{"a credential has at most 8192 bytes, a client's name at most 40"}
	}
	shown := credential
	if len(credential) > maxCredentialLen {
		shown = ""
	}
	body := make([]byte, helloLen-headerLen)
	body[0], body[1], body[2], body[3] = protocolVersion, protocolVersion, byte(len(shown)), byte(len(name))
	binary.LittleEndian.PutUint32(body[4:], inFlight)
	copy(body[8:72], shown)
	copy(body[72:], name)
	raw := frame(kindHello, correlation, body)
	if shown != credential {
		raw[6] = flagAuth
		raw = append(raw, tokenFrames([]byte(credential), correlation)...)
	}
	return raw, nil
}

// tokenFrames are a token in AUTH frames, of which the last one is answered.
func tokenFrames(token []byte, correlation uint64) []byte {
	var raw []byte
	for at := 0; at < len(token); at += partLen {
		body := make([]byte, 8+partLen)
		binary.LittleEndian.PutUint16(body, uint16(len(token)))
		binary.LittleEndian.PutUint16(body[2:], uint16(at))
		copy(body[8:], token[at:])
		raw = append(raw, frame(kindAuth, correlation, body)...)
	}
	return raw
}

func checkToken(token string) error {
	if len(token) == 0 || len(token) > maxTokenLen {
		return &FieldError{"a token has 1 to 8192 bytes"}
	}
	return nil
}

// submitBody is a transaction and the four reserved bytes behind it.
func submitBody(transaction []byte) []byte {
	return append(transaction[:transactionLen:transactionLen], 0, 0, 0, 0)
}

func lookupBody(id, payer string) ([]byte, error) {
	if !isID(id) {
		return nil, &FieldError{"an id is 1 to 32 printable ASCII characters without spaces"}
	}
	body := make([]byte, 48)
	copy(body, id)
	if payer != "" {
		document, err := CanonicalDocument(payer)
		if err != nil {
			return nil, err
		}
		copy(body[32:], document)
	}
	return body, nil
}

// describeBody is CLUSTER's, which changes nothing.
func describeBody() []byte { return []byte{1, 0, 0, 0, 0, 0, 0, 0} }

// replyLen is the length of the reply that begins with this header, or an error for what no server sends to this client.
func replyLen(header []byte) (int, error) {
	length, low, high := binary.LittleEndian.Uint32(header), uint32(1), uint32(0)
	switch header[4] {
	case kindWelcome:
		low, high = 128, 128
	case kindVerdict:
		low, high = 64, 64
	case kindRecord:
		low, high = 320, maxReplyLen
	case kindPong:
		low, high = 24, 24
	case kindError:
		low, high = 152, 152
	case kindClusterState:
		low, high = 256, 256
	case kindAuthState:
		low, high = 32, 32
	}
	if header[5] != protocolVersion || length < low || length > high {
		return 0, &ProtocolError{"a frame of a kind, version or length that it can't have"}
	}
	return int(length), nil
}

// text is what stands before the zeros at a field's end, made sound UTF-8.
func text(raw []byte) string {
	return strings.ToValidUTF8(string(bytes.TrimRight(raw, "\x00")), "\uFFFD")
}

// address is one that a server names: printable ASCII that is a host and a port, because it is printed and connected to. Anything
// else counts as none.
func address(raw []byte) string {
	named := text(raw)
	for _, c := range named {
		if c < '!' || c > '~' {
			return ""
		}
	}
	if !isAddress(named) {
		return ""
	}
	return named
}
