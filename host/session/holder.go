package session

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/agenthost/agenthost/host/internal/beneath"
	"github.com/agenthost/agenthost/host/internal/durable"
)

const (
	holderFile = "holder" // in a session's folder
	maxHolder  = 4096     // bytes of it
)

// A Holder is the process that works on a session, as it said itself.
type Holder struct {
	PID     int       `json:"pid"`
	Program string    `json:"program"` // its file's name
	Since   time.Time `json:"since"`
	// Process tells the process from any other that has, had or will have its
	// number: see identity.
	Process string `json:"process"`
}

// An InUseError says that a living process works on a session. It is
// [ErrInUse]. That there is one is certain, the system's lock says so; who it
// is was read from a file and is there to be shown.
type InUseError struct {
	Holder *Holder // nil if it is not known
}

// Error tells who it is, as far as that is known.
func (e *InUseError) Error() string {
	if e.Holder == nil {
		return ErrInUse.Error()
	}
	if e.Holder.PID == os.Getpid() {
		return "this process works on this session already, since " + e.Holder.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%v: %v", ErrInUse, e.Holder)
}

// String says who it is.
func (h *Holder) String() string {
	return fmt.Sprintf("%s, process %d, since %s", h.Program, h.PID, h.Since.UTC().Format(time.RFC3339))
}

// Unwrap returns [ErrInUse].
func (e *InUseError) Unwrap() error { return ErrInUse }

// Announcement is what this process leaves where it holds a lock, to be read with
// [ReadHolder] by those who find it locked. It is nil where processes cannot be
// told apart.
func Announcement(now time.Time) []byte {
	process, ok := identity(os.Getpid())
	if !ok {
		return nil
	}
	h := Holder{PID: os.Getpid(), Program: "agenthost", Since: now.UTC(), Process: process}
	if program, err := os.Executable(); err == nil {
		h.Program = filepath.Base(program)
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil
	}
	return append(b, '\n')
}

// ReadHolder reads an announcement. It is nil where that is none, or was left by a
// process that does not live any more.
func ReadHolder(announcement []byte) *Holder {
	var h Holder
	if err := json.Unmarshal(announcement, &h); err != nil || h.PID <= 0 || h.Program == "" || !utf8.ValidString(h.Program) {
		return nil
	}
	if process, ok := identity(h.PID); !ok || process != h.Process {
		return nil
	}
	return &h
}

// announce says in the session's folder who holds it, for those who find it
// locked. Nothing depends on it, so nothing fails for it and nothing is synced.
func (s *Session) announce() {
	b := Announcement(s.root.opts.Now())
	if b == nil {
		return
	}
	temp := durable.Prefix + holderFile
	f, err := s.dir.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if closed := f.Close(); err == nil && closed == nil {
		err = beneath.Rename(s.dir, temp, s.dir, holderFile)
		s.announced = err == nil
	}
	if !s.announced {
		s.dir.Remove(temp) //nolint:errcheck // it is a file that says nothing
	}
}

// withdraw takes back what announce said.
func (s *Session) withdraw() {
	if s.announced {
		s.announced = false
		s.dir.Remove(holderFile) //nolint:errcheck // what it says is checked by who reads it
	}
}

// inUse is the error for a session that is locked. Who holds it is told only if
// that process lives: the one that left the file may have died, and the one that
// holds the lock may not have written yet.
func (s *Session) inUse() error {
	b, err := durable.Read(s.dir, holderFile, maxHolder)
	if err != nil {
		return &InUseError{}
	}
	return &InUseError{Holder: ReadHolder(b)}
}
