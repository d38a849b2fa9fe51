package testscripts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// postgres speaks as much of PostgreSQL's protocol, version 3, as psql needs for a
// question: it asks for a password in clear text, and answers each query with one row
// of one column, "yes".
func (s *server) postgres(ts *testscript.TestScript) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	host, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	ts.Setenv("PGHOST", host)
	ts.Setenv("PGPORT", port)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				s.session(conn)
			}()
		}
	}()
}

func (s *server) session(conn net.Conn) {
	for { // until the client has asked in vain for encryption
		length := make([]byte, 4)
		if _, err := io.ReadFull(conn, length); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(length)-4)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		if binary.BigEndian.Uint32(body) == 3<<16 {
			break
		}
		fmt.Fprint(conn, "N")
	}
	send(conn, 'R', 0, 0, 0, 3)
	kind, password, err := receive(conn)
	if err != nil || kind != 'p' {
		return
	}
	label := s.label(string(bytes.TrimSuffix(password, []byte{0})))
	line := fmt.Sprintf("postgres %s\n", label)
	if err := appendTo(filepath.Join(s.work, "server.log"), line); err != nil || label == "" {
		send(conn, 'E', []byte("SFATAL\x00C28P01\x00Mpassword authentication failed\x00\x00")...)
		return
	}
	send(conn, 'R', 0, 0, 0, 0)
	for {
		send(conn, 'Z', 'I')
		if kind, _, err = receive(conn); err != nil || kind != 'Q' {
			return
		}
		send(conn, 'T', []byte("\x00\x01answer\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")...)
		send(conn, 'D', []byte("\x00\x01\x00\x00\x00\x03yes")...)
		send(conn, 'C', []byte("SELECT 1\x00")...)
	}
}

func send(w io.Writer, kind byte, body ...byte) {
	frame := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	_, _ = w.Write(append(frame, body...)) // who went away has no use for it
}

func receive(r io.Reader) (kind byte, body []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[1:])-4)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

func appendTo(file, line string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}
