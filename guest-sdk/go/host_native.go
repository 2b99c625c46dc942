//go:build !wasip1

package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// send answers a message where there is no host: for tests of agents and for
// go run. Nothing is governed or recorded here.
func send(message []byte) ([]byte, error) {
	line, body, hasBody := bytes.Cut(message, []byte{'\n'})
	var m struct {
		Op      string          `json:"op"`
		Path    string          `json:"path"`
		Level   string          `json:"level"`
		Message string          `json:"message"`
		Fields  json.RawMessage `json:"fields"`
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, malformed
	}
	switch m.Op {
	case opRequest:
		return requestFrom(os.Stdin)
	case opResult:
		_, err := os.Stdout.Write(body)
		return ok("", err)
	case opLog:
		text := m.Level + ": " + m.Message
		if m.Fields != nil {
			text += " " + string(m.Fields)
		}
		_, err := fmt.Fprintln(os.Stderr, text)
		return ok("", err)
	case opHash:
		h := sha256.New()
		if hasBody {
			h.Write(body)
		} else if err := hashFile(h, m.Path); err != nil {
			return ok("", err)
		}
		return ok(`,"sha256":"sha256:`+hex.EncodeToString(h.Sum(nil))+`"`, nil)
	case opCheck:
		return ok(`,"allowed":true,"decision":"granted"`, nil)
	case opInfo:
		return ok(`,"abi":1,"ops":["request","result","log","check","hash","info"]`, nil)
	case opExec:
		return ok("", fmt.Errorf("there is no host to run commands: %w", errors.ErrUnsupported))
	}
	return nil, unknownOp
}

// ok makes a reply with these members, or one that says what err is.
func ok(members string, err error) ([]byte, error) {
	code := codeFailed
	var where *fs.PathError
	if errors.As(err, &where) {
		err = where.Err // who asked knows the path
	}
	switch {
	case err == nil:
		return []byte(`{"ok":true` + members + "}\n"), nil
	case errors.Is(err, fs.ErrNotExist):
		code = codeNotFound
	case errors.Is(err, errors.ErrUnsupported):
		code = codeUnsupported
	}
	return json.Marshal(map[string]any{"ok": false, "code": code, "message": err.Error()})
}

func hashFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// requestFrom makes the reply to request of what r holds: the header of a turn,
// any part of it, or nothing.
func requestFrom(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return ok("", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		text = []byte("{}")
	}
	var header bytes.Buffer
	if err := json.Compact(&header, text); err != nil { // onto one line
		return ok("", fmt.Errorf("standard input: %w", err))
	}
	return ok(`,"request":`+header.String(), nil)
}
