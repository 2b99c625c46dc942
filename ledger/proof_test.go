//go:build linux || darwin

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// storedHashes are the hashes of a tree in the order of tlog.
type storedHashes []tlog.Hash

func (s storedHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		if i < 0 || i >= int64(len(s)) {
			return nil, fmt.Errorf("there is no hash %d of %d", i, len(s))
		}
		out = append(out, s[i])
	}
	return out, nil
}

// forest is a ledger of n entries in memory, with what tlog stores of it and the
// checkpoint of each size.
type forest struct {
	key    *Key
	lines  [][]byte
	stored storedHashes
	points []Checkpoint
}

func newForest(t testing.TB, n int) *forest {
	t.Helper()
	f := &forest{key: testKey(t, "agenthost/test", 7)}
	var (
		tree Tree
		mine []byte
		now  = ticker()
		prev Hash
	)
	for i := range n + 1 {
		c := Checkpoint{Origin: "agenthost/ho1/SES-1/exec", Size: uint64(i), Root: tree.Root()}
		if err := c.Sign(f.key); err != nil {
			t.Fatal(err)
		}
		f.points = append(f.points, c)
		e := Entry{Seq: uint64(i), Time: now(), Kind: "note", Session: "SES-1", Prev: prev}
		line := e.appendHead([]byte{0})
		line = append(line, fmt.Sprintf(`,"text":"%d"`, i)...)
		line = e.appendTail(line)
		prev = e.Hash
		f.lines = append(f.lines, line[1:])
		hashes, err := tlog.StoredHashes(int64(i), line[1:len(line)-hashSize], f.stored)
		if err != nil {
			t.Fatal(err)
		}
		if hashes[0] != tlog.Hash(e.Hash) {
			t.Fatalf("entry %d: the hash of its line is not that of a leaf", i)
		}
		f.stored = append(f.stored, hashes...)
		mine = tree.appendStored(mine, e.Hash)
	}
	var theirs []byte
	for _, h := range f.stored {
		theirs = append(theirs, h[:]...)
	}
	if !bytes.Equal(mine, theirs) {
		t.Fatal("what is stored is not what tlog stores")
	}
	return f
}

const proofSizes = 300

// Roots, proofs of every entry, and proofs between all sizes agree with tlog, and
// the checkpoints in them are notes.
func TestProofsAgreeWithTlog(t *testing.T) {
	t.Parallel()
	f := newForest(t, proofSizes)
	v := f.key.Verifier()
	theirs, err := note.NewVerifier(v.String())
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(proofSizes + 1) {
		c := f.points[n]
		if root, err := tlog.TreeHash(n, f.stored); err != nil || Hash(root) != c.Root {
			t.Fatalf("root of %d: got %v, want %v, %v", n, c.Root, root, err)
		}
		opened, err := note.Open([]byte(c.String()), note.VerifierList(theirs))
		if err != nil || opened.Text != c.Text() {
			t.Fatalf("checkpoint of %d: %v", n, err)
		}
		for i := range n {
			p, err := prove(f.stored, uint64(i), c)
			if err != nil {
				t.Fatal(err)
			}
			want, err := tlog.ProveRecord(n, i, f.stored)
			if err != nil || fmt.Sprint(tlogHashes(p.Path)) != fmt.Sprint([]tlog.Hash(want)) {
				t.Fatalf("entry %d of %d: got %v, want %v, %v", i, n, p.Path, want, err)
			}
			if err := p.Includes(f.lines[i]); err != nil {
				t.Fatalf("of %d: %v", n, err)
			}
		}
		for old := range n + 1 {
			p, err := proveConsistency(f.stored, uint64(old), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.consistent(f.points[old].Root); err != nil {
				t.Fatalf("%d in %d: %v", old, n, err)
			}
			if old > 0 {
				want, err := tlog.ProveTree(n, old, f.stored)
				if err != nil || fmt.Sprint(tlogHashes(p.Path)) != fmt.Sprint([]tlog.Hash(want)) {
					t.Fatalf("%d in %d: got %v, want %v, %v", old, n, p.Path, want, err)
				}
			}
			if other := f.points[(old+1)%proofSizes].Root; p.consistent(other) == nil {
				t.Fatalf("%d in %d: another root is taken", old, n)
			}
		}
		if _, err := prove(f.stored, uint64(n), c); err == nil {
			t.Errorf("there is a proof of entry %d of %d", n, n)
		}
		if _, err := proveConsistency(f.stored, uint64(n)+1, c); err == nil {
			t.Errorf("there is a proof that %d entries begin with one more", n)
		}
	}
}

func TestProofText(t *testing.T) {
	f := newForest(t, 21)
	p, err := prove(f.stored, 13, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	for _, extra := range []string{"", "x", strings.Repeat("x", maxExtra)} {
		p.Extra = []byte(extra)
		got, err := ParseProof([]byte(p.String()))
		if err != nil || got.String() != p.String() || string(got.Extra) != extra {
			t.Fatalf("got %v, %v", got, err)
		}
		if err := CheckProof(got, f.lines[13], f.key.Verifier()); err != nil {
			t.Error(err)
		}
	}
	p.Extra = nil
	want := "c2sp.org/tlog-proof@v1\nindex 13\n"
	for _, h := range p.Path {
		want += tlog.Hash(h).String() + "\n"
	}
	if want += "\n" + p.Checkpoint.String(); p.String() != want {
		t.Errorf("got %s\nwant %s", p, want)
	}
	c, err := proveConsistency(f.stored, 6, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseConsistency([]byte(c.String())); err != nil || got.String() != c.String() || !strings.HasPrefix(c.String(), "old 6\n") {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{
		"", "\n", "c2sp.org/tlog-proof@v1", proofHead, proofHead + "index 1\n", proofHead + "index 1\n\n",
		strings.Replace(want, "@v1", "@v2", 1),
		strings.Replace(want, "index 13", "index 013", 1),
		strings.Replace(want, "index 13", "index +13", 1),
		strings.Replace(want, "index 13", "index 9007199254740992", 1),
		strings.Replace(want, "index 13", "index  13", 1),
		strings.Replace(want, "index 13\n", "", 1),
		strings.Replace(want, "index 13\n", "extra \nindex 13\n", 1),
		strings.Replace(want, "index 13\n", "extra eA\nindex 13\n", 1),
		strings.Replace(want, "index 13\n", "extra eB==\nindex 13\n", 1),
		strings.Replace(want, "index 13\n", "extra eA==\nextra eA==\nindex 13\n", 1),
		strings.Replace(want, "index 13\n", "index 13\nextra eA==\n", 1),
		strings.Replace(want, "\n", "\r\n", -1),
		strings.Replace(want, "index 13\n", "index 13\n"+strings.Repeat(tlog.Hash{}.String()+"\n", maxPath), 1),
		want + "\n", " " + want, want[:len(want)-1],
		strings.Repeat("x", maxProof+1),
	} {
		if got, err := ParseProof([]byte(bad)); err == nil || got.Index != 0 || len(got.Path) > 0 {
			t.Errorf("%.200q: got %v, %v", bad, got, err)
		}
		if _, err := ParseConsistency([]byte(bad)); err == nil {
			t.Errorf("%.200q is taken for a proof of consistency", bad)
		}
	}
}

// Whichever byte of a proof, of its line or of the checkpoint that was kept is
// another one, the proof is refused.
func TestEveryFlippedByteOfAProofIsFound(t *testing.T) {
	t.Parallel()
	f := newForest(t, 21)
	key := f.key.Verifier()
	p, err := prove(f.stored, 13, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	c, err := proveConsistency(f.stored, 6, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	old := f.points[6]
	included := func(text, line []byte) error {
		p, err := ParseProof(text)
		if err != nil {
			return err
		}
		return CheckProof(p, line, key)
	}
	consistent := func(text, _ []byte) error {
		c, err := ParseConsistency(text)
		if err != nil {
			return err
		}
		return CheckConsistency(c, old, key)
	}
	for name, check := range map[string]func(text, line []byte) error{p.String(): included, c.String(): consistent} {
		text, line := []byte(name), bytes.Clone(f.lines[13])
		if err := check(text, line); err != nil {
			t.Fatal(err)
		}
		for i := range text {
			for _, flip := range []byte{1, 2, 0x20, 0x81, text[i] ^ '\n', text[i] ^ '='} {
				if flip == 0 {
					continue
				}
				text[i] ^= flip
				if err := check(text, line); err == nil {
					t.Errorf("byte %d ^ %#x of the proof: it is taken:\n%s", i, flip, text)
				}
				text[i] ^= flip
			}
		}
		if name == c.String() {
			continue
		}
		for i := range line {
			for _, flip := range []byte{1, 0x20, 0x81, line[i] ^ '\n'} {
				line[i] ^= flip
				if err := check(text, line); err == nil {
					t.Errorf("byte %d ^ %#x of the line: it is taken", i, flip)
				}
				line[i] ^= flip
			}
		}
		for i := range line {
			if err := check(text, line[:i]); err == nil {
				t.Errorf("%d bytes of the line: they are taken", i)
			}
		}
	}
}

func TestProofsAreRefused(t *testing.T) {
	f := newForest(t, 21)
	key, other := f.key.Verifier(), testKey(t, "agenthost/test", 8).Verifier()
	p, err := prove(f.stored, 13, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckProof(p, append(bytes.Clone(f.lines[13]), '\n'), other, key); err != nil {
		t.Error("with a newline:", err)
	}
	// The same members under a leaf hash of the writer's own.
	forged, _, err := parseLine(f.lines[13], nil)
	if err != nil {
		t.Fatal(err)
	}
	made := append(forged.appendHead([]byte{0}), `,"text":"forged"`...)
	made = forged.appendTail(made)[1:]
	for _, c := range []struct {
		name string
		line []byte
		edit func(*Proof)
		keys []Verifier
		want string
	}{
		{"another line", f.lines[12], nil, nil, "proof of entry 13: the line is entry 12"},
		{"a forged line", made, nil, nil, "proof of entry 13: it does not lead to the root that the checkpoint signs"},
		{"no line", nil, nil, nil, "proof of entry 13: the line is not an entry as it is stored"},
		{"two lines", append(append(bytes.Clone(f.lines[13]), '\n'), f.lines[14]...), nil, nil, "proof of entry 13: the line is not an entry as it is stored"},
		{"two newlines", append(bytes.Clone(f.lines[13]), "\n\n"...), nil, nil, "proof of entry 13: the line is not an entry as it is stored"},
		{"another key", f.lines[13], nil, []Verifier{other}, "proof of entry 13: checkpoint of agenthost/ho1/SES-1/exec: agenthost/test did not sign it"},
		{"the zero key", f.lines[13], nil, []Verifier{{}}, "proof of entry 13: checkpoint of agenthost/ho1/SES-1/exec:  did not sign it"},
		{"no key", f.lines[13], nil, []Verifier{}, "proof of entry 13: whose signature counts was not said"},
		{"another index", f.lines[13], func(p *Proof) { p.Index = 12 }, nil, "proof of entry 12: the line is entry 13"},
		{"a small checkpoint", f.lines[13], func(p *Proof) { p.Checkpoint = f.points[13] }, nil, "proof of entry 13: its checkpoint is of 13 entries"},
		{"another checkpoint", f.lines[13], func(p *Proof) { p.Checkpoint = f.points[20] }, nil, "proof of entry 13: it does not lead to the root that the checkpoint signs"},
		{"an endless checkpoint", f.lines[13], func(p *Proof) { p.Checkpoint.Size = 1 << 63 }, nil, "proof of entry 13: its checkpoint is of 9223372036854775808 entries"},
		{"another size", f.lines[13], func(p *Proof) { p.Checkpoint.Size = 22 }, nil, "proof of entry 13: checkpoint of agenthost/ho1/SES-1/exec by agenthost/test: the signature is wrong"},
		{"another origin", f.lines[13], func(p *Proof) { p.Checkpoint.Origin = "x" }, nil, "proof of entry 13: checkpoint of x by agenthost/test: the signature is wrong"},
		{"no path", f.lines[13], func(p *Proof) { p.Path = nil }, nil, "proof of entry 13: it does not lead to the root that the checkpoint signs"},
		{"a longer path", f.lines[13], func(p *Proof) { p.Path = append(p.Path, Hash{}) }, nil, "proof of entry 13: it does not lead to the root that the checkpoint signs"},
	} {
		p := p
		if c.edit != nil {
			c.edit(&p)
		}
		if c.keys == nil {
			c.keys = []Verifier{key}
		}
		if err := CheckProof(p, c.line, c.keys...); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v\nwant %s", c.name, err, c.want)
		}
	}
	// The root of the node above two leaves is no entry: its hash begins with 1.
	if !errors.Is(p.includes(Entry{Seq: 13, Hash: Hash(f.stored[tlog.StoredHashIndex(1, 6)])}), errNotIncluded) {
		t.Error("a node is taken for a leaf")
	}
}

func TestConsistencyIsRefused(t *testing.T) {
	f, g := newForest(t, 21), newForest(t, 21)
	key := f.key.Verifier()
	if p, err := proveConsistency(f.stored, 0, f.points[21]); err != nil || CheckConsistency(p, f.points[0], key) != nil {
		t.Error("every ledger begins with none:", err)
	}
	p, err := proveConsistency(f.stored, 6, f.points[21])
	if err != nil {
		t.Fatal(err)
	}
	// A ledger that was written anew from its fourth entry on has no proof.
	rewritten := append(storedHashes{}, g.stored[:tlog.StoredHashCount(3)]...)
	for i := int64(3); i < 21; i++ {
		more, err := tlog.StoredHashes(i, fmt.Appendf(nil, "another %d", i), rewritten)
		if err != nil {
			t.Fatal(err)
		}
		rewritten = append(rewritten, more...)
	}
	anew := f.points[21]
	root, err := tlog.TreeHash(21, rewritten)
	if err != nil {
		t.Fatal(err)
	}
	anew.Root = Hash(root)
	if err := anew.Sign(f.key); err != nil {
		t.Fatal(err)
	}
	for old, want := range map[uint64]bool{3: true, 6: false, 21: false} {
		p, err := proveConsistency(rewritten, old, anew)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(p, f.points[old], key); (err == nil) != want {
			t.Errorf("written anew after 3, kept at %d: got %v", old, err)
		}
	}
	for _, c := range []struct {
		name string
		edit func(*Consistency, *Checkpoint)
		want string
	}{
		{"another origin", func(_ *Consistency, c *Checkpoint) { c.Origin = "x" }, "consistency of 21 entries with 6: one is of x, the other of agenthost/ho1/SES-1/exec"},
		{"another size", func(_ *Consistency, c *Checkpoint) { *c = f.points[7] }, "consistency of 21 entries with 6: the checkpoint that was kept is of 7"},
		{"another root", func(_ *Consistency, c *Checkpoint) { c.Root[0]++ }, "consistency of 21 entries with 6: the ledger does not begin with what it was: it was written anew, or the proof is wrong"},
		{"rolled back", func(p *Consistency, _ *Checkpoint) { p.Checkpoint = f.points[5] }, "consistency of 5 entries with 6: the ledger has become shorter"},
		{"unsigned", func(p *Consistency, _ *Checkpoint) { p.Checkpoint.Signatures = nil }, "consistency of 21 entries with 6: checkpoint of agenthost/ho1/SES-1/exec: agenthost/test did not sign it"},
		{"a path from nothing", func(p *Consistency, c *Checkpoint) { p.Old, *c = 0, f.points[0] }, "consistency of 21 entries with 0: the ledger does not begin with what it was: it was written anew, or the proof is wrong"},
	} {
		p, old := p, f.points[6]
		c.edit(&p, &old)
		if err := CheckConsistency(p, old, key); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// What is read as a proof is written again with the same bytes.
func FuzzParseProof(f *testing.F) {
	forest := newForest(f, 21)
	for _, i := range []uint64{0, 13, 20} {
		p, err := prove(forest.stored, i, forest.points[21])
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(p.String()))
		p.Extra = []byte("extra")
		f.Add([]byte(p.String()))
		c, err := proveConsistency(forest.stored, i, forest.points[21])
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(c.String()))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := ParseProof(text); err == nil {
			if p.String() != string(text) {
				t.Fatalf("%q is written as %q", text, p.String())
			}
			if p.Includes(forest.lines[13]) == nil && (p.Index != 13 || p.Checkpoint.Root != forest.points[p.Checkpoint.Size].Root) {
				t.Fatalf("it proves what is not so: %q", text)
			}
		}
		if c, err := ParseConsistency(text); err == nil && c.String() != string(text) {
			t.Fatalf("%q is written as %q", text, c.String())
		}
	})
}
