package catraca

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"
)

// TLS says how a node shows who it is, and how this client does. The node's certificate must be of
// one of these authorities, and of the host that the address names: there is no way around that.
// Only TLS 1.3 is spoken.
type TLS struct {
	// CAFile is a PEM file with the authorities that the certificates of nodes are of. The system's
	// are not asked.
	CAFile string
	// CertificateFile and KeyFile are PEM files with the certificate that this client shows, and
	// its private key; both are empty where it shows none.
	CertificateFile, KeyFile string
}

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, &FieldError{"the file of authorities can't be read: " + err.Error()}
	}
	made := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	if !made.RootCAs.AppendCertsFromPEM(pem) {
		return nil, &FieldError{fmt.Sprintf("%s holds no certificate of an authority", t.CAFile)}
	}
	if (t.CertificateFile == "") != (t.KeyFile == "") {
		return nil, &FieldError{"a client's certificate and its key are given together"}
	}
	if t.CertificateFile != "" {
		own, err := tls.LoadX509KeyPair(t.CertificateFile, t.KeyFile)
		if err != nil {
			return nil, &FieldError{fmt.Sprintf("%s with %s is no certificate to show: %v",
				t.CertificateFile, t.KeyFile, err)}
		}
		made.Certificates = []tls.Certificate{own}
	}
	return made, nil
}

// shakeSecurely has TLS spoken over a socket, which is closed where that fails.
func shakeSecurely(
	socket net.Conn, address string, config *tls.Config, deadline time.Time,
) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err == nil {
		config = config.Clone()
		config.ServerName = host
		secured := tls.Client(socket, config)
		if err = secured.SetDeadline(deadline); err == nil {
			if err = secured.Handshake(); err == nil {
				return secured, nil
			}
		}
	}
	socket.Close()
	return nil, fmt.Errorf("the connection can't be made secure: %w", err)
}
