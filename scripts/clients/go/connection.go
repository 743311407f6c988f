package catraca

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"time"
)

// connection is one connection, of TCP or of TLS over it, past its handshakes. A goroutine reads it,
// and another one writes, so that a server that waits for its answers to be read never waits for us.
type connection struct {
	net.Conn
	welcome *Welcome
	// Until when its token counts, nanoseconds since 1970 UTC; 0 for no end.
	expiresAtNs uint64
	input       *bufio.Reader
	// Frames to write. It has room for all that may be unanswered, so that putting one in never waits.
	output chan []byte
	closed chan struct{}
}

// connect connects to an address and shakes hands, all in this time; over TLS where there is a
// configuration of it.
func connect(
	address string, hello []byte, secured *tls.Config, within, writeTimeout time.Duration,
) (*connection, error) {
	deadline := time.Now().Add(within)
	// TCP_NODELAY is Go's default.
	socket, err := net.DialTimeout("tcp", address, within)
	if err != nil {
		return nil, &ConnectError{Detail: err.Error()}
	}
	if secured != nil {
		if socket, err = shakeSecurely(socket, address, secured, deadline); err != nil {
			return nil, &ConnectError{Detail: err.Error()}
		}
	}
	c := &connection{Conn: socket, input: bufio.NewReaderSize(socket, 64<<10), closed: make(chan struct{})}
	if err := c.shakeHands(hello, deadline); err != nil {
		socket.Close()
		if refused, ok := err.(*Refused); ok {
			return nil, refused
		}
		return nil, &ConnectError{Detail: err.Error()}
	}
	c.output = make(chan []byte, min(c.welcome.InFlight, MaxInFlight)+2)
	go c.write(writeTimeout)
	return c, nil
}

func (c *connection) shakeHands(hello []byte, deadline time.Time) error {
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.Write(hello); err != nil {
		return err
	}
	hasToken := len(hello) > helloLen
	for {
		correlation, answer, err := c.next()
		if err != nil {
			return err
		}
		if correlation != 0 {
			return &ProtocolError{"no WELCOME came"}
		}
		switch answer := answer.(type) {
		case *Refused:
			return answer
		case *Welcome:
			if c.welcome != nil {
				return &ProtocolError{"a second WELCOME came"}
			}
			c.welcome = answer
			if !hasToken {
				return c.SetDeadline(time.Time{})
			}
		case authState:
			// Behind WELCOME.
			if c.welcome == nil || !hasToken {
				return &ProtocolError{"no WELCOME came"}
			}
			c.expiresAtNs = uint64(answer)
			return c.SetDeadline(time.Time{})
		default:
			return &ProtocolError{"no WELCOME came"}
		}
	}
}

// next waits for the next reply, and checks its length and kind before anything is made of it.
func (c *connection) next() (uint64, interface{}, error) {
	header, err := c.input.Peek(headerLen)
	if err != nil {
		return 0, nil, err
	}
	length, err := replyLen(header)
	if err != nil {
		return 0, nil, err
	}
	raw := make([]byte, length)
	if _, err := io.ReadFull(c.input, raw); err != nil {
		return 0, nil, err
	}
	return decodeReply(raw)
}

// write writes until the connection is closed.
func (c *connection) write(timeout time.Duration) {
	output := bufio.NewWriterSize(c.Conn, 64<<10)
	for {
		select {
		case <-c.closed:
			return
		case raw := <-c.output:
			_ = c.SetWriteDeadline(time.Now().Add(timeout))
			_, err := output.Write(raw)
			if err == nil && len(c.output) == 0 {
				err = output.Flush()
			}
			if err != nil {
				// The reader tells.
				c.Conn.Close()
				return
			}
		}
	}
}

// leave closes it. Called once. TLS says goodbye, which may take time where the server reads
// nothing: not the caller's.
func (c *connection) leave() {
	close(c.closed)
	go c.Conn.Close()
}

func min(a, b uint32) uint32 {
	if a < b {
		return a
	}
	return b
}
