package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Checkpoint is a signed tree head as [tlog-checkpoint] has it: what a ledger
// held when it was signed. Kept outside of the ledger's folder it shows whether
// anything before it was changed or cut since.
//
// [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
type Checkpoint struct {
	Origin     string // of the ledger, the same in all its checkpoints
	Size       uint64 // entries
	Root       Hash   // RFC 6962 Merkle root over their hashes
	Signatures []Signature
}

// A Signature is one signature line of a note.
type Signature struct {
	Name  string // of the key
	Value string // what [Key.Sign] returns
}

// maxCheckpoint bounds a checkpoint as text, in bytes.
const maxCheckpoint = 64 << 10

var (
	errSecret        = errors.New("it is not a signing key: want PRIVATE+KEY+NAME+HASH+KEY")
	errSignatureForm = errors.New("it is not a signature of a note")
	errOtherKey      = errors.New("another key signed it")
	errSignature     = errors.New("the signature is wrong")
)

// Text is what is signed: origin, size and root, each on a line.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// String is the checkpoint as a signed note.
func (c Checkpoint) String() string {
	var b strings.Builder
	b.WriteString(c.Text())
	b.WriteByte('\n')
	for _, s := range c.Signatures {
		b.WriteString(signatureMark + s.Name + " " + s.Value + "\n")
	}
	return b.String()
}

// Sign adds a signature, or replaces the one of the same key.
func (c *Checkpoint) Sign(k *Key) error {
	value, err := k.Sign(c.Text())
	if err != nil {
		return err
	}
	kept := make([]Signature, 0, len(c.Signatures)+1)
	for _, s := range c.Signatures {
		if s.Name != k.verifier.Name() || !k.verifier.Made(s.Value) {
			kept = append(kept, s)
		}
	}
	c.Signatures = append(kept, Signature{k.verifier.Name(), value})
	return nil
}

// Check returns an error unless v signed the checkpoint.
func (c Checkpoint) Check(v Verifier) error {
	err := fmt.Errorf("checkpoint of %s: %s did not sign it", c.Origin, v.Name())
	for _, s := range c.Signatures {
		if s.Name != v.Name() || !v.Made(s.Value) {
			continue
		}
		wrong := v.Check(c.Text(), s.Value)
		if wrong == nil {
			return nil
		}
		err = fmt.Errorf("checkpoint of %s by %s: %w", c.Origin, s.Name, wrong)
	}
	return err
}

// Before every signature line of a note.
const signatureMark = "\u2014 "

// ParseCheckpoint reads a signed note of the three lines of a checkpoint, and no
// others, with one signature or more. No signature is checked. [Checkpoint.String]
// gives the same bytes again.
func ParseCheckpoint(text []byte) (Checkpoint, error) {
	c, err := parseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

func parseCheckpoint(text []byte) (Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("%d bytes, at most %d", len(text), maxCheckpoint)
	}
	if !utf8.Valid(text) || bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
		return Checkpoint{}, errors.New("it is not text")
	}
	body, signatures, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) != 3 || lines[0] == "" {
		return Checkpoint{}, errors.New("want three lines, origin, size and root, an empty one, and signatures")
	}
	c := Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = strconv.ParseUint(lines[1], 10, 64); err != nil || strconv.FormatUint(c.Size, 10) != lines[1] || c.Size > maxInt {
		return Checkpoint{}, fmt.Errorf("size %.40q is not a number of entries", lines[1])
	}
	root, ok := decode64(lines[2])
	if !ok || len(root) != len(c.Root) {
		return Checkpoint{}, fmt.Errorf("root %.80q is not base64 of %d bytes", lines[2], len(c.Root))
	}
	copy(c.Root[:], root)
	if !strings.HasSuffix(signatures, "\n") {
		return Checkpoint{}, errors.New("it has no end")
	}
	for line := range strings.Lines(signatures) {
		rest, marked := strings.CutPrefix(strings.TrimSuffix(line, "\n"), signatureMark)
		name, value, two := strings.Cut(rest, " ")
		if _, _, ok := splitSignature(value); !marked || !two || !validName(name) || !ok {
			return Checkpoint{}, fmt.Errorf("signature line %.120q: want a dash, the name of a key, and base64", line)
		}
		c.Signatures = append(c.Signatures, Signature{name, value})
	}
	if string(text) != c.String() {
		return Checkpoint{}, errors.New("it is not written as checkpoints are")
	}
	return c, nil
}

// splitSignature takes the end of a signature line apart.
func splitSignature(value string) (hash uint32, sig []byte, ok bool) {
	b, ok := decode64(value)
	if !ok || len(b) < 5 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b), b[4:], true
}

// decode64 reads base64 in its one spelling, without line breaks.
func decode64(s string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return b, err == nil && len(s) == base64.StdEncoding.EncodedLen(len(b))
}

func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsSpace) && !strings.Contains(name, "+")
}

// The algorithm byte of ed25519 in signed notes.
const algEd25519 = 1

// publicHalf makes the verifier key of a signing key.
func publicHalf(secret string) (string, error) {
	rest, ok := strings.CutPrefix(secret, "PRIVATE+KEY+")
	name, rest, named := strings.Cut(rest, "+")
	_, encoded, hashed := strings.Cut(rest, "+")
	b, plain := decode64(encoded)
	if !ok || !named || !hashed || !plain || len(b) != 1+ed25519.SeedSize || b[0] != algEd25519 || !validName(name) {
		return "", errSecret
	}
	public := append([]byte{algEd25519}, ed25519.NewKeyFromSeed(b[1:]).Public().(ed25519.PublicKey)...) //nolint:forcetypeassert // it is one
	sum := sha256.Sum256(append([]byte(name+"\n"), public...))
	return fmt.Sprintf("%s+%08x+%s", name, binary.BigEndian.Uint32(sum[:]), base64.StdEncoding.EncodeToString(public)), nil
}
