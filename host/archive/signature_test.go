package archive

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/agenthost/agenthost/ledger"
)

// testKey makes the pair of a name that is the same in every run.
func testKey(t testing.TB, name string) (signing, verifier string) {
	t.Helper()
	var seed [32]byte
	copy(seed[:], name)
	signing, verifier, err := NewKey(name, rand.NewChaCha8(seed))
	if err != nil {
		t.Fatal(err)
	}
	return signing, verifier
}

// signed is a package of which only what is signed is known.
func signed(id, version, content string) *Package {
	return &Package{Manifest: Manifest{ID: id, Version: version}, Digest: ledger.Sum([]byte(content))}
}

func mustSign(t testing.TB, p *Package, key string) []byte {
	t.Helper()
	signature, err := Sign(p, key)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func TestSign(t *testing.T) {
	alice, aliceKey := testKey(t, "alice")
	_, bobKey := testKey(t, "bob")
	p := signed("PKG-A-1", "1.0.0", "a")
	signature := mustSign(t, p, alice)
	want := "agenthost package v1\nPKG-A-1\n1.0.0\n" + p.Digest.String() + "\n\n— alice "
	if !strings.HasPrefix(string(signature), want) || strings.Count(string(signature), "\n") != 6 {
		t.Errorf("got  %q\nwant %q…", signature, want)
	}
	for _, keys := range [][]string{{aliceKey}, {bobKey, aliceKey}, {aliceKey, aliceKey}} {
		if got, err := CheckSignature(p, signature, keys); err != nil || got != aliceKey {
			t.Errorf("%v: %q, %v", keys, got, err)
		}
	}
	if got, err := VerifierKey(alice); err != nil || got != aliceKey {
		t.Errorf("VerifierKey: %q, %v", got, err)
	}
	if again := mustSign(t, p, alice); !bytes.Equal(again, signature) {
		t.Error("the same signature, given twice, differs")
	}
}

// TestCosign: signatures of several stand side by side, and the first of the keys
// asked for is the one that is named.
func TestCosign(t *testing.T) {
	alice, aliceKey := testKey(t, "alice")
	bob, bobKey := testKey(t, "bob")
	p := signed("PKG-A-1", "1.0.0", "a")
	both, err := Cosign(p, mustSign(t, p, alice), bob)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]string{{aliceKey, bobKey}, {bobKey, aliceKey}, {bobKey}} {
		if got, err := CheckSignature(p, both, keys); err != nil || got != keys[0] {
			t.Errorf("%v: %q, %v", keys, got, err)
		}
	}
	again, err := Cosign(p, both, alice)
	if err != nil || strings.Count(string(again), "— ") != 2 {
		t.Errorf("signed again: %q, %v", again, err)
	}
	var e *SignatureError
	if _, err := Cosign(signed("PKG-A-1", "1.0.1", "a"), both, alice); !errors.As(err, &e) {
		t.Errorf("a signature of another version was taken over: %v", err)
	}
}

func TestCheckSignatureRefusals(t *testing.T) {
	alice, aliceKey := testKey(t, "alice")
	bob, bobKey := testKey(t, "bob")
	p := signed("PKG-A-1", "1.0.0", "a")
	good := string(mustSign(t, p, alice))
	text, lines, _ := strings.Cut(good, "\n\n")
	text += "\n"
	bobs := string(mustSign(t, p, bob))[len(text)+1:]
	// A key of mallory's with the name of alice.
	_, malloryPrivate, err := ed25519.GenerateKey(rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	line := func(name string, hash uint32, text string) string {
		raw := binary.BigEndian.AppendUint32(nil, hash)
		return "— " + name + " " + base64.StdEncoding.EncodeToString(append(raw, ed25519.Sign(malloryPrivate, []byte(text))...)) + "\n"
	}
	hash := hashOf(t, aliceKey)
	alices := fmt.Sprintf("alice+%08x", hash)
	unknown := "signature: none of the keys that count here gave it"
	notNote := "signature: it is not a signed note"
	invalid := "signature: that of " + alices + " does not verify: it, or what it was given for, was altered"
	other := func(what string) string { return "signature: it is not of this package, but of " + what }
	many := strings.Repeat(bobs, 101)
	for _, c := range []struct {
		name, signature string
		keys            []string
		want            string
		signers         []string
	}{
		{name: "no keys", signature: good, want: unknown, signers: []string{alices}},
		{name: "another key", signature: good, keys: []string{bobKey}, want: unknown, signers: []string{alices}},
		{name: "nothing", keys: []string{aliceKey}, want: notNote},
		{name: "text alone", signature: text, keys: []string{aliceKey}, want: notNote},
		{name: "no signatures", signature: text + "\n", keys: []string{aliceKey}, want: notNote},
		{name: "signatures alone", signature: lines, keys: []string{aliceKey}, want: notNote},
		{name: "right name and hash, wrong key", signature: text + "\n" + line("alice", hash, text), keys: []string{aliceKey}, want: invalid},
		{name: "right name, another hash", signature: text + "\n" + line("alice", hash+1, text), keys: []string{aliceKey}, want: unknown, signers: []string{fmt.Sprintf("alice+%08x", hash+1)}},
		{name: "another name, right hash", signature: text + "\n" + line("alicf", hash, text), keys: []string{aliceKey}, want: unknown, signers: []string{fmt.Sprintf("alicf+%08x", hash)}},
		{name: "a forged one beside a good one", signature: text + "\n" + line("alice", hash, text) + lines, keys: []string{aliceKey}, want: invalid},
		{name: "a forged one by bob beside a good one", signature: good + line("bob", hashOf(t, bobKey), text), keys: []string{aliceKey, bobKey}, want: "signature: that of bob+"},
		{name: "101 signatures", signature: text + "\n" + many, keys: []string{aliceKey}, want: notNote},
		{name: "trailing bytes", signature: good + "x", keys: []string{aliceKey}, want: notNote},
		{name: "a line behind it", signature: good + "more\n", keys: []string{aliceKey}, want: notNote},
		{name: "an empty line behind it", signature: good + "\n", keys: []string{aliceKey}, want: notNote},
		{name: "NUL behind it", signature: good + "\x00", keys: []string{aliceKey}, want: notNote},
		{name: "a second note behind it", signature: good + "\n" + lines, keys: []string{aliceKey}, want: invalid},
		{name: "CRLF", signature: strings.ReplaceAll(good, "\n", "\r\n"), keys: []string{aliceKey}, want: "signature: it has line ends of another system"},
		{name: "a byte order mark", signature: "\ufeff" + good, keys: []string{aliceKey}, want: invalid},
		{name: "not UTF-8", signature: "\xff" + good, keys: []string{aliceKey}, want: notNote},
		{name: "1 MiB of text", signature: strings.Repeat("x", 1<<20) + "\n\n" + lines, keys: []string{aliceKey}, want: "signature: it has more than 65536 bytes"},
		{name: "other text", signature: "agenthost package v2" + good[len("agenthost package v1"):], keys: []string{aliceKey}, want: invalid},
		{name: "other text by an unknown key", signature: "hello\n\n" + bobs, keys: []string{aliceKey}, want: other("something else")},
		{name: "another id", signature: string(mustSign(t, signed("PKG-A-2", "1.0.0", "a"), alice)), keys: []string{aliceKey}, want: other("PKG-A-2 1.0.0 " + p.Digest.String())},
		{name: "another version", signature: string(mustSign(t, signed("PKG-A-1", "1.0.1", "a"), alice)), keys: []string{aliceKey}, want: other("PKG-A-1 1.0.1 " + p.Digest.String())},
		{name: "another digest", signature: string(mustSign(t, signed("PKG-A-1", "1.0.0", "b"), alice)), keys: []string{aliceKey}, want: other("PKG-A-1 1.0.0 " + ledger.Sum([]byte("b")).String())},
		{name: "a line more in the text", signature: string(signText(t, text+"more\n", alice)), keys: []string{aliceKey}, want: other("something else")},
		{name: "an empty line in the text", signature: string(signText(t, text+"\n", alice)), keys: []string{aliceKey}, want: other("something else")},
		{name: "an empty text", signature: "\n" + string(signText(t, "\n", alice)), keys: []string{aliceKey}, want: invalid},
		{name: "a broken key", signature: good, keys: []string{aliceKey, "alice"}, want: "it is not a verifier key, NAME+HASH+KEY"},
	} {
		got, err := CheckSignature(p, []byte(c.signature), c.keys)
		if got != "" || err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %q\ngot  %v\nwant %s", c.name, got, err, c.want)
		}
		var e *SignatureError
		if errors.As(err, &e) && !slices.Equal(e.Signers, c.signers) {
			t.Errorf("%s: signers %q, want %q", c.name, e.Signers, c.signers)
		}
		if of, ok := strings.CutPrefix(c.want, other("PKG-")); e != nil && ok != (e.Of != "") || ok && e.Of != "PKG-"+of {
			t.Errorf("%s: of %q", c.name, e.Of)
		}
	}
	// Others may sign what they like beside one that counts.
	for _, signature := range []string{
		good + bobs,
		text + "\n" + bobs + lines,
		good + line("mallory", 1, "something else"),
		good + lines,
		text + "\n" + strings.Repeat(bobs, 99) + lines,
	} {
		if got, err := CheckSignature(p, []byte(signature), []string{aliceKey}); err != nil || got != aliceKey {
			t.Errorf("%q\n%q, %v", signature, got, err)
		}
	}
}

func hashOf(t *testing.T, key string) uint32 {
	t.Helper()
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return v.KeyHash()
}

func signText(t *testing.T, text, key string) []byte {
	t.Helper()
	signer, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// TestEveryBit: a signature of which one bit is another one is none, wherever it
// stands; except where base64 has bits that mean nothing.
func TestEveryBit(t *testing.T) {
	alice, aliceKey := testKey(t, "alice")
	p := signed("PKG-A-1", "1.0.0", "a")
	good := mustSign(t, p, alice)
	for i := range good {
		for bit := range 8 {
			altered := bytes.Clone(good)
			altered[i] ^= 1 << bit
			got, err := CheckSignature(p, altered, []string{aliceKey})
			if err == nil && !sameRaw(good, altered) {
				t.Errorf("bit %d of byte %d: accepted as %s's", bit, i, got)
			}
		}
	}
}

// sameRaw reports whether two notes differ in the spelling of their base64 alone.
func sameRaw(a, b []byte) bool {
	raw := func(n []byte) []byte {
		at := bytes.LastIndexByte(n, ' ')
		decoded, err := base64.StdEncoding.DecodeString(string(n[at+1 : len(n)-1]))
		if err != nil {
			return n
		}
		return append(bytes.Clone(n[:at]), decoded...)
	}
	return bytes.Equal(raw(a), raw(b))
}

// TestCollidingKeys: a second trusted key with name and hash of the first has both
// refused, as it cannot be told whose signature it is.
func TestCollidingKeys(t *testing.T) {
	_, aliceKey := testKey(t, "alice")
	_, bobKey := testKey(t, "bob")
	a, err := note.NewVerifier(aliceKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := note.NewVerifier(bobKey)
	if err != nil {
		t.Fatal(err)
	}
	k := known{{a, aliceKey}, {b, bobKey}}
	if v, err := k.Verifier("alice", a.KeyHash()); err != nil || v.Name() != "alice" {
		t.Errorf("got %v, %v", v, err)
	}
	k = known{{a, aliceKey}, {b, bobKey}, {a, "alice+another"}}
	if _, err := k.Verifier("alice", a.KeyHash()); !errors.Is(err, errAmbiguous) {
		t.Errorf("got %v", err)
	}
	if v, err := k.Verifier("bob", b.KeyHash()); err != nil || v.Name() != "bob" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestKeys(t *testing.T) {
	alice, aliceKey := testKey(t, "alice")
	name, rest, _ := strings.Cut(aliceKey, "+")
	hash, key, _ := strings.Cut(rest, "+")
	if err := CheckKey(aliceKey); err != nil {
		t.Error(err)
	}
	for given, want := range map[string]string{aliceKey: name + "+" + hash, "alice": "alice", "": "", "a+b+c+d": "a+b"} {
		if got := KeyName(given); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
	for _, c := range []struct{ key, want string }{
		{"", "it is not a verifier key"},
		{"alice", "it is not a verifier key"},
		{alice, "it is a signing key, which nobody else should ever have"},
		{aliceKey + "\n", "it is not a verifier key"},
		{aliceKey + "+x", "it is not a verifier key"},
		{name + "+" + strings.ToUpper(hash) + "+" + key, "it is not a verifier key"},
		{name + "+" + hash + "+" + key[:9] + "\n" + key[9:], "it is not a verifier key"},
		{name + "+00000000+" + key, "it is not a verifier key"},
		{"al ice+" + rest, "it is not a verifier key"},
		{renamed(t, aliceKey, "=cmd()"), "the name of a key is"},
		{renamed(t, aliceKey, "al\x1bice"), "the name of a key is"},
		{renamed(t, aliceKey, "al\u202eice"), "the name of a key is"},
		{renamed(t, aliceKey, strings.Repeat("a", 101)), "the name of a key is"},
	} {
		err := CheckKey(c.key)
		var e *KeyError
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.key, err, c.want)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "-a", ".", "é", strings.Repeat("a", 101)} {
		if _, _, err := NewKey(name, rand.NewChaCha8([32]byte{})); err == nil {
			t.Errorf("a key was made for the name %q", name)
		}
	}
	if _, _, err := NewKey("a", bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key was made of 31 bytes")
	}
	random := rand.NewChaCha8([32]byte{2})
	for range 200 { // whatever stands in their base64
		signing, verifier, err := NewKey("a", random)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := VerifierKey(signing); err != nil || got != verifier || CheckKey(got) != nil {
			t.Errorf("got %s, %v, want %s", got, err, verifier)
		}
	}
	secret := strings.SplitN(alice, "+", 5)[4]
	for _, key := range []string{"", aliceKey, alice[:len(alice)-4], alice + "AAAA", strings.Replace(alice, "+alice+", "+alicf+", 1)} {
		_, err := Sign(signed("PKG-A-1", "1.0.0", "a"), key)
		var e *KeyError
		if !errors.As(err, &e) || strings.Contains(err.Error()+e.Hint, secret) {
			t.Errorf("%d bytes: %v", len(key), err)
		}
	}
}

// renamed gives a key another name, with the hash it has then.
func renamed(t *testing.T, key, name string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(key, "+", 3)[2])
	if err != nil {
		t.Fatal(err)
	}
	again, err := note.NewEd25519VerifierKey(name, raw[1:])
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestReadSignature(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.tar.gz")
	if _, err := ReadSignature(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if err := os.WriteFile(path+SignatureSuffix, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadSignature(path); err != nil || len(got) != maxSignature+1 {
		t.Errorf("a large one: %d bytes, %v", len(got), err)
	}
	for _, signature := range []string{"one", "two"} {
		if err := WriteSignature(path, []byte(signature)); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadSignature(path); err != nil || string(got) != signature {
			t.Errorf("got %q, %v, want %q", got, err, signature)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("beside the signatures: %v, %v", left, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b.sig"), 0o700); err != nil {
		t.Fatal(err)
	}
	var e *SignatureError
	if err := WriteSignature(filepath.Join(dir, "b"), nil); err == nil {
		t.Error("a folder was replaced")
	}
	if _, err := ReadSignature(filepath.Join(dir, "b")); !errors.As(err, &e) {
		t.Errorf("a folder: %v", err)
	}
}

func FuzzCheckSignature(f *testing.F) {
	alice, aliceKey := testKey(f, "alice")
	bob, bobKey := testKey(f, "bob")
	p := signed("PKG-A-1", "1.0.0", "a")
	good := mustSign(f, p, alice)
	both, err := Cosign(p, good, bob)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(both)
	f.Add(mustSign(f, signed("PKG-A-1", "1.0.1", "a"), alice))
	f.Add([]byte("\n\n— a AAAAAAA=\n"))
	f.Fuzz(func(t *testing.T, signature []byte) {
		key, err := CheckSignature(p, signature, []string{aliceKey, bobKey})
		var e *SignatureError
		if (err == nil) != (key != "") || err != nil && !errors.As(err, &e) {
			t.Fatalf("%q, %v", key, err)
		}
		if err == nil && !strings.HasPrefix(string(signature), p.statement()+"\n") {
			t.Errorf("%q was taken for a signature of %q", signature, p.statement())
		}
	})
}
