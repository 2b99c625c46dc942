package ledger

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// zeros is a source of bytes for keys that are the same each time.
type zeros byte

func (z zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(z)
	}
	return len(b), nil
}

func testKey(t testing.TB, name string, seed byte) *Key {
	t.Helper()
	k, err := NewKey(name, zeros(seed))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What this package signs, the module that Go's checksum database is built with
// opens, and the other way around.
func TestCheckpointsAreNotes(t *testing.T) {
	k := testKey(t, "agenthost/test", 7)
	c := Checkpoint{Origin: "agenthost/ho1/SES-1/exec", Size: 42, Root: Sum([]byte("x"))}
	if err := c.Sign(k); err != nil {
		t.Fatal(err)
	}
	other := testKey(t, "agenthost/other", 9)
	if err := c.Sign(other); err != nil {
		t.Fatal(err)
	}
	for _, key := range []*Key{k, other} {
		v, err := note.NewVerifier(key.Verifier().String())
		if err != nil {
			t.Fatal(err)
		}
		n, err := note.Open([]byte(c.String()), note.VerifierList(v))
		if err != nil || n.Text != c.Text() || len(n.Sigs) != 1 {
			t.Fatalf("%s: %v %+v", key, err, n)
		}
	}
	got, err := ParseCheckpoint([]byte(c.String()))
	if err != nil || got.String() != c.String() || got.Size != 42 || got.Root != c.Root {
		t.Errorf("got %v, %v", got, err)
	}
	if err := got.Check(k.Verifier()); err != nil {
		t.Error(err)
	}
	got.Size++
	if err := got.Check(k.Verifier()); err == nil || !strings.Contains(err.Error(), "the signature is wrong") {
		t.Errorf("a changed checkpoint: %v", err)
	}
	tree := tlog.FormatTree(tlog.Tree{N: 42, Hash: tlog.Hash(c.Root)})
	if _, rest, _ := strings.Cut(string(tree), "\n"); "agenthost/ho1/SES-1/exec\n"+rest != c.Text() {
		t.Errorf("text %q, tlog writes %q", c.Text(), tree)
	}
	if again, err := ParseKey(k.Secret()); err != nil || again.Verifier().String() != k.Verifier().String() {
		t.Errorf("read again: %v, %v", again, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if shown := fmt.Sprintf(verb, k); strings.Contains(shown, "PRIVATE") || strings.Contains(shown, k.Secret()[30:]) {
			t.Errorf("%s shows the secret", verb)
		}
	}
}

func TestBadCheckpoints(t *testing.T) {
	k := testKey(t, "k", 1)
	c := Checkpoint{Origin: "o", Size: 1}
	if err := c.Sign(k); err != nil {
		t.Fatal(err)
	}
	good := c.String()
	sig := good[strings.Index(good, signatureMark):]
	for _, bad := range []string{
		"", "\n", good[:len(good)-1], good + "\n", good + "x", strings.Replace(good, "\n1\n", "\n01\n", 1), strings.Replace(good, "\n1\n", "\n-1\n", 1),
		strings.Replace(good, "\n1\n", "\n9007199254740992\n", 1), strings.Replace(good, "AAAA", "AA\nA", 1), strings.Replace(good, "o\n", "\n", 1),
		strings.Replace(good, "o\n", "o\r\n", 1), strings.Replace(good, "o\n", "o\xff\n", 1), strings.Replace(good, "A=\n", "A=\nextension\n", 1),
		strings.Replace(good, "A=\n", "B=\n", 1), strings.Replace(good, sig, "", 1), strings.Replace(good, "\u2014", "-", 1), strings.Replace(good, "\u2014 k", "\u2014 k+1", 1),
		good + signatureMark + "k AAAA\n", good + strings.Repeat(sig, 1000),
	} {
		if c, err := ParseCheckpoint([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
	for _, bad := range []string{"", "PRIVATE+KEY+k", "PRIVATE+KEY+k+00000000+AAAA", strings.Replace(k.Secret(), "PRIVATE+KEY+k", "PRIVATE+KEY+j", 1), k.Secret() + "A", k.Secret() + "\n"} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q was read as a key", bad)
		}
	}
	vkey := k.Verifier().String()
	for _, bad := range []string{"", vkey + "\n", vkey[:20] + "\n" + vkey[20:], strings.ToUpper(vkey[:10]) + vkey[10:], vkey + "=", "k+" + vkey} {
		if v, err := ParseVerifier(bad); err == nil {
			t.Errorf("%q was read as the verifier key %s", bad, v)
		}
	}
	for _, bad := range []string{"", "a b", "a+b", "\xff"} {
		if _, err := NewKey(bad, zeros(1)); err == nil {
			t.Errorf("%q is the name of a key", bad)
		}
	}
}
