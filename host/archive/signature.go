package archive

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// SignatureSuffix makes of the name of a packed package that of its signature,
// which lies beside it.
const SignatureSuffix = ".sig"

// maxSignature bounds a signature, in bytes: a hundred signers have room.
const maxSignature = 64 << 10

// maxKeyName bounds the name of a key, in bytes.
const maxKeyName = 100

// A SignatureError says why a signature does not count.
type SignatureError struct {
	What string // what is wrong
	Hint string // the way out; may be empty

	// Signers are those who signed this very package, as NAME+HASH, if it is only
	// that none of their keys was among those asked for. Nothing of them was
	// verified, the names neither. Else it is nil.
	Signers []string

	// Of is the package that it is of, as ID VERSION DIGEST, if it is only that it
	// is not of this one. It may be of anybody. Else it is empty.
	Of string
}

// Error is one line without the hint.
func (e *SignatureError) Error() string { return "signature: " + e.What }

// A KeyError says what is wrong with a key or its name. It never holds the key.
type KeyError struct {
	What string
	Hint string // the way out; may be empty
}

// Error is one line without the hint.
func (e *KeyError) Error() string { return e.What }

// statement is the text that is signed: it says which package, and nothing of who
// may run it or what for.
func (p *Package) statement() string {
	return fmt.Sprintf("agenthost package v1\n%s\n%s\n%s\n", p.Manifest.ID, p.Manifest.Version, p.Digest)
}

// Sign signs id, version and digest of a package with a signing key as [NewKey]
// makes it. What comes back is a signed note, as c2sp.org/signed-note has it. The
// error is a *KeyError.
func Sign(p *Package, key string) ([]byte, error) { return sign(p, nil, key) }

// Cosign signs like [Sign], and keeps the signatures that others gave this
// package. One of the same key is replaced. The error is a *KeyError, or a
// *SignatureError if signature is none of this package; it is not checked who
// gave it.
func Cosign(p *Package, signature []byte, key string) ([]byte, error) {
	n, err := openNote(p, signature, nil)
	if err != nil {
		return nil, err
	}
	return sign(p, n.UnverifiedSigs, key)
}

func sign(p *Package, others []note.Signature, key string) ([]byte, error) {
	vkey, err := VerifierKey(key)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(key)
	if err != nil {
		return nil, errSigningKey
	}
	signature, err := note.Sign(&note.Note{Text: p.statement(), UnverifiedSigs: others}, signer)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", p.Manifest.ID, err)
	}
	if _, err := CheckSignature(p, signature, []string{vkey}); err != nil {
		return nil, fmt.Errorf("sign %s: what was signed does not verify: %w", p.Manifest.ID, err)
	}
	return signature, nil
}

// CheckSignature finds out which of the verifier keys signed this very package:
// its id, version and digest. It returns the first of keys that did. Signatures by
// others do not matter; one by any of the keys that does not verify makes all of
// them worthless. The error is a *SignatureError, or the *KeyError of one of keys.
func CheckSignature(p *Package, signature []byte, keys []string) (key string, err error) {
	var count known
	for _, k := range keys {
		if err := CheckKey(k); err != nil {
			return "", err
		}
		v, err := note.NewVerifier(k)
		if err != nil {
			return "", errVerifierKey
		}
		count = append(count, knownKey{v, k})
	}
	n, err := openNote(p, signature, count)
	if err != nil {
		return "", err
	}
	for _, k := range count {
		if slices.ContainsFunc(n.Sigs, func(s note.Signature) bool { return s.Name == k.Name() && s.Hash == k.KeyHash() }) {
			return k.text, nil
		}
	}
	var signers []string
	for _, s := range n.UnverifiedSigs {
		if name := fmt.Sprintf("%s+%08x", s.Name, s.Hash); len(name) <= 2*maxKeyName && !slices.Contains(signers, name) {
			signers = append(signers, name)
		}
	}
	return "", &SignatureError{What: "none of the keys that count here gave it", Hint: unknownHint, Signers: signers}
}

const unknownHint = "ask whom you trust for the verifier key of one who signed, and have it trusted with agenthost control signer add"

// openNote reads a signature of this package. Signatures of verifiers are checked,
// the others are not.
func openNote(p *Package, signature []byte, count known) (*note.Note, error) {
	if len(signature) > maxSignature {
		return nil, &SignatureError{What: fmt.Sprintf("it has more than %d bytes", maxSignature), Hint: "a signature is a few lines: get it anew"}
	}
	n, err := note.Open(signature, count)
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		n = unverified.Note
	case errors.As(err, &invalid):
		return nil, &SignatureError{
			What: fmt.Sprintf("that of %s+%08x does not verify: it, or what it was given for, was altered", invalid.Name, invalid.Hash),
			Hint: "get the package and its signature anew",
		}
	case errors.Is(err, errAmbiguous):
		return nil, &SignatureError{What: "two of the keys that count here have the same name and hash", Hint: "withdraw trust from one of them"}
	case err != nil && bytes.Contains(signature, []byte("\r")):
		return nil, &SignatureError{What: "it has line ends of another system", Hint: "get it anew, as a binary file: what was signed ends its lines with \\n"}
	case err != nil:
		return nil, &SignatureError{What: "it is not a signed note", Hint: "agenthost package sign makes one"}
	}
	if want := p.statement(); n.Text != want {
		of := stated(n.Text)
		return nil, &SignatureError{
			What: "it is not of this package, but of " + cmp.Or(of, "something else"),
			Hint: "get the signature that belongs to " + p.Manifest.ID + " " + p.Manifest.Version,
			Of:   of,
		}
	}
	return n, nil
}

// known are the keys that count.
type known []knownKey

type knownKey struct {
	note.Verifier
	text string
}

var errAmbiguous = errors.New("ambiguous key")

// Verifier implements [note.Verifiers]. A hash has 32 bits: who makes keys by the
// billion finds one with the name and hash of another's. Whose signature it is
// then cannot be said.
func (k known) Verifier(name string, hash uint32) (note.Verifier, error) {
	var found knownKey
	for _, v := range k {
		switch {
		case v.Name() != name || v.KeyHash() != hash:
		case found.text != "" && found.text != v.text:
			return nil, errAmbiguous
		default:
			found = v
		}
	}
	if found.text == "" {
		return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
	}
	return found, nil
}

// stated says which package a note is about; nothing if it is about none.
func stated(text string) string {
	lines := strings.Split(text, "\n")
	if len(lines) != 5 || lines[0] != "agenthost package v1" || len(text) > 1024 {
		return ""
	}
	return strings.Join(lines[1:4], " ")
}

// ReadSignature reads the signature that lies beside a packed package, whose path
// is given. The error wraps os.ErrNotExist if there is none.
func ReadSignature(path string) ([]byte, error) {
	path += SignatureSuffix
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &SignatureError{What: path + " is not a file", Hint: "a signature is a file beside the package"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSignature+1)) // one too many is refused by who checks
}

// WriteSignature puts a signature beside a packed package, whose path is given. It
// appears whole and durable, or not at all; one that was there is replaced.
func WriteSignature(path string, signature []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".agenthost-sign-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(signature); err != nil {
		return err
	}
	return publish(f, path+SignatureSuffix)
}

var (
	errVerifierKey = &KeyError{What: "it is not a verifier key, NAME+HASH+KEY", Hint: "agenthost package keygen prints one"}
	errSigningKey  = &KeyError{What: "it is not a signing key", Hint: "agenthost package keygen makes one"}
)

// NewKey makes a key for signing packages from 32 bytes of random: the signing
// key, which is to be kept, and the verifier key, which is to be given away. The
// name is part of both. The error is a *KeyError about the name, or that of random.
func NewKey(name string, random io.Reader) (signing, verifier string, err error) {
	if err := checkKeyName(name); err != nil {
		return "", "", err
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	return note.GenerateKey(bytes.NewReader(seed), name)
}

// VerifierKey returns the verifier key that belongs to a signing key. The error is
// a *KeyError.
func VerifierKey(signing string) (string, error) {
	signer, err := note.NewSigner(signing)
	if err != nil {
		return "", errSigningKey
	}
	if err := checkKeyName(signer.Name()); err != nil {
		return "", err
	}
	parts := strings.SplitN(signing, "+", 5) // PRIVATE, KEY, name, hash, key
	secret, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return "", errSigningKey
	}
	public, ok := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return "", errSigningKey
	}
	return note.NewEd25519VerifierKey(signer.Name(), public)
}

// CheckKey reports what keeps a text from being a verifier key as [NewKey] makes
// it. Every key has one spelling only, so that keys can be compared as texts. The
// error is a *KeyError.
func CheckKey(verifier string) error {
	if strings.HasPrefix(verifier, "PRIVATE+KEY+") {
		return &KeyError{What: "it is a signing key, which nobody else should ever have", Hint: "give the verifier key that agenthost package keygen printed with it; make a new key if this one was shown to others"}
	}
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return errVerifierKey
	}
	if err := checkKeyName(v.Name()); err != nil {
		return err
	}
	_, rest, _ := strings.Cut(verifier, "+")
	_, text, _ := strings.Cut(rest, "+")
	public, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(public) != 1+ed25519.PublicKeySize {
		return errVerifierKey
	}
	if spelled, err := note.NewEd25519VerifierKey(v.Name(), public[1:]); err != nil || spelled != verifier {
		return errVerifierKey
	}
	return nil
}

// KeyName is what people know a verifier key by, NAME+HASH; a text that has no such
// parts is its own.
func KeyName(verifier string) string {
	parts := strings.SplitN(verifier, "+", 3)
	return strings.Join(parts[:min(2, len(parts))], "+")
}

// checkKeyName keeps the names of keys to what is safe wherever they are shown:
// on a line, in a table, on a terminal.
func checkKeyName(name string) error {
	const first = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if name == "" || len(name) > maxKeyName || strings.Trim(name[:1], first) != "" || strings.Trim(name, first+"._@/-") != "" {
		return &KeyError{
			What: fmt.Sprintf("the name of a key is 1 to %d letters, digits and . _ @ / -, and begins with a letter or a digit", maxKeyName),
			Hint: "as alice@example.org",
		}
	}
	return nil
}
