package ledger

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A Key signs checkpoints: an ed25519 key with a name, in the format of
// [signed notes]. It is safe for concurrent use. Its formatting verbs show
// nothing of the secret.
//
// [signed notes]: https://c2sp.org/signed-note
type Key struct {
	secret   string
	signer   note.Signer
	verifier Verifier
}

// NewKey makes a key of that name, which has no white space and no '+', from 32
// bytes of random. The error is about the name, or random's.
func NewKey(name string, random io.Reader) (*Key, error) {
	if !validName(name) {
		return nil, fmt.Errorf("key name %.80q: want letters, digits and signs other than '+', without white space", name)
	}
	secret, public, err := note.GenerateKey(random, name)
	if err != nil {
		return nil, fmt.Errorf("making the key %s: %w", name, err)
	}
	return newKey(secret, public)
}

// ParseKey reads what [Key.Secret] writes. The error does not hold the secret.
func ParseKey(secret string) (*Key, error) {
	// PRIVATE+KEY+NAME+HASH+BASE64; the public half follows from the secret one.
	public, err := publicHalf(secret)
	if err != nil {
		return nil, err
	}
	return newKey(secret, public)
}

func newKey(secret, public string) (*Key, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, errSecret
	}
	verifier, err := ParseVerifier(public)
	if err != nil || signer.KeyHash() != verifier.note.KeyHash() {
		return nil, errSecret
	}
	return &Key{secret: secret, signer: signer, verifier: verifier}, nil
}

// Secret is the key as a line of text, without newline. Whoever has it can sign.
func (k *Key) Secret() string { return k.secret }

// Verifier is the public half.
func (k *Key) Verifier() Verifier { return k.verifier }

// String is the verifier key, so that printing a Key shows no secret.
func (k *Key) String() string { return k.verifier.String() }

// GoString is String, for %#v.
func (k *Key) GoString() string { return k.verifier.String() }

// Sign signs a text that ends in a newline, as a signed note's text does. What
// comes back is the end of a signature line: base64 of the first four bytes of
// the key's hash, and the signature.
func (k *Key) Sign(text string) (string, error) {
	signed, err := note.Sign(&note.Note{Text: text}, k.signer)
	if err != nil {
		return "", fmt.Errorf("signing with %s: %w", k.verifier.Name(), err)
	}
	line := strings.TrimSuffix(string(signed[strings.LastIndexByte(string(signed[:len(signed)-1]), '\n')+1:]), "\n")
	return line[strings.LastIndexByte(line, ' ')+1:], nil
}

// A Verifier is the public half of a [Key]; [Verifier.Equal] compares two. The
// zero value verifies nothing. It is safe for concurrent use.
type Verifier struct {
	text string
	note note.Verifier
}

// ParseVerifier reads a verifier key, NAME+HASH+BASE64.
func ParseVerifier(vkey string) (Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil || !spelled(v, vkey) {
		return Verifier{}, fmt.Errorf("verifier key %.120q: want NAME+HASH+KEY, as ledger key prints it", vkey)
	}
	return Verifier{text: vkey, note: v}, nil
}

// spelled reports whether vkey is v in its one spelling: the module that reads it
// takes others, too.
func spelled(v note.Verifier, vkey string) bool {
	key, ok := strings.CutPrefix(vkey, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()))
	_, plain := decode64(key)
	return ok && plain
}

// String is the verifier key as text.
func (v Verifier) String() string { return v.text }

// Name is the name of the key.
func (v Verifier) Name() string {
	if v.note == nil {
		return ""
	}
	return v.note.Name()
}

// Equal reports whether both are the same key under the same name.
func (v Verifier) Equal(other Verifier) bool { return v.text == other.text }

// IsZero reports whether v is the zero value.
func (v Verifier) IsZero() bool { return v.note == nil }

// Made reports whether a signature of [Key.Sign] names this key. It may still be
// wrong.
func (v Verifier) Made(signature string) bool {
	hash, _, ok := splitSignature(signature)
	return ok && v.note != nil && hash == v.note.KeyHash()
}

// Check returns an error unless signature is one of this key over text.
func (v Verifier) Check(text, signature string) error {
	hash, sig, ok := splitSignature(signature)
	switch {
	case !ok:
		return errSignatureForm
	case v.note == nil || hash != v.note.KeyHash():
		return errOtherKey
	case !v.note.Verify([]byte(text), sig):
		return errSignature
	}
	return nil
}
