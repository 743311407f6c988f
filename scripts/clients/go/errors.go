package catraca

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Recorded says whether the server has a decision on the transaction that was refused or not answered.
type Recorded int

const (
	// RecordedPerhaps: send the same transaction again to learn which decision stands.
	RecordedPerhaps Recorded = iota
	// RecordedNo: this sending recorded nothing, and no earlier one of this call can have.
	RecordedNo
	// RecordedYes: there is a decision; the same transaction, sent again, gets it.
	RecordedYes
)

func (r Recorded) String() string {
	switch r {
	case RecordedNo:
		return "no"
	case RecordedYes:
		return "yes"
	}
	return "perhaps"
}

// Error is what every error of this package can tell, besides its text. None of them is ever an approval.
type Error interface {
	error
	Recorded() Recorded
}

// FieldError says that an argument has a value that it can't have. Nothing was sent.
type FieldError struct{ What string }

func (e *FieldError) Error() string { return e.What }

// Recorded is RecordedNo.
func (e *FieldError) Recorded() Recorded { return RecordedNo }

// ConnectError says that no node took the request. It was never sent.
type ConnectError struct {
	Detail string
	// NoPrimary: nodes were reached, and none of them decides.
	NoPrimary bool
}

func (e *ConnectError) Error() string { return e.Detail }

// Recorded is RecordedNo.
func (e *ConnectError) Recorded() Recorded { return RecordedNo }

// NoAnswerError says that a request was sent and got no answer in time. Send the same transaction again.
type NoAnswerError struct {
	Detail string
	// Cause is the context's error where the caller gave up first.
	Cause error
}

func (e *NoAnswerError) Error() string {
	return "no answer: " + e.Detail + "; it may have been done, so send it again as it was"
}

// Unwrap gives the cause.
func (e *NoAnswerError) Unwrap() error { return e.Cause }

// Recorded is RecordedPerhaps.
func (e *NoAnswerError) Recorded() Recorded { return RecordedPerhaps }

// ProtocolError says that the server sent what it must not send.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "the server broke the protocol: " + e.What }

// Recorded is RecordedPerhaps.
func (e *ProtocolError) Recorded() Recorded { return RecordedPerhaps }

// Code is why the server refused.
type Code uint16

// The codes of PROTOCOL.md.
const (
	BadFrame Code = iota + 1
	BadDocument
	BadField
	UnsupportedVersion
	Unauthenticated
	Forbidden
	NotPrimary
	Overloaded
	Deadline
	Unconfirmed
	IDReused
	RateLimited
	DiskFull
	ShuttingDown
	NotFound
	Failed
	Late
)

var codeNames = [...]string{"", "BAD_FRAME", "BAD_DOCUMENT", "BAD_FIELD", "UNSUPPORTED_VERSION", "UNAUTHENTICATED", "FORBIDDEN",
	"NOT_PRIMARY", "OVERLOADED", "DEADLINE", "UNCONFIRMED", "ID_REUSED", "RATE_LIMITED", "DISK_FULL", "SHUTTING_DOWN", "NOT_FOUND",
	"FAILED", "LATE"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprint(uint16(c))
}

// Refused is the server's ERROR.
type Refused struct {
	Code Code
	// RetryAfter is when to try again; 0 where that makes no sense, or at once will do.
	RetryAfter time.Duration
	// Detail is a sentence for a person.
	Detail string
	// Closing: the server closes the connection after it.
	Closing bool
	// An earlier sending in this call got no answer: whatever this one recorded, that one may have.
	doubtful bool
}

func (e *Refused) Error() string {
	text := e.Code.String() + ": " + strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, e.Detail)
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (try again after %d ms)", e.RetryAfter.Milliseconds())
	}
	return text
}

// Recorded is what the code means for a transaction. BAD_FIELD is perhaps: its time may lie before what the server remembers.
func (e *Refused) Recorded() Recorded {
	switch {
	case e.Code == Late:
		return RecordedYes
	case e.Code == Unconfirmed || e.Code == BadField || e.doubtful:
		return RecordedPerhaps
	}
	return RecordedNo
}

// isFinal: another attempt to connect can't change it.
func isFinal(err error) bool {
	refused, ok := err.(*Refused)
	return ok && (refused.Code == Unauthenticated || refused.Code == UnsupportedVersion || refused.Code == BadFrame)
}
