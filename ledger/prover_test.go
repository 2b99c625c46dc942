//go:build linux || darwin

package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// provable are options for one more reading of what sealing wrote.
func provable(o Options) Options {
	o.Keys = &ring{keys: o.Keys.(*ring).keys}
	o.Key = nil
	return o
}

// bigLedger is one that has an index: so many notes, and a seal behind each
// hundredth.
func bigLedger(t testing.TB, notes int) (*Log, Options) {
	t.Helper()
	o := sealing(t)
	l := mustCreate(t, o)
	l.f = &quick{l.f}
	mustCommit(t, l, "key")
	addNotes(t, l, notes)
	return l, o
}

func addNotes(t testing.TB, l *Log, notes int) {
	t.Helper()
	for i := range notes {
		mustAppend(t, l, "note", fmt.Sprint(i))
		if i%100 == 99 {
			mustCommit(t, l, "end")
		}
	}
}

// quick does not wait for the disk.
type quick struct{ file }

func (quick) Sync() error { return nil }

func mustProver(t testing.TB, path, folder string, o Options) *Prover {
	t.Helper()
	p, err := OpenProver(path, folder, provable(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// mustProve makes the proof of an entry and checks it.
func mustProve(t testing.TB, p *Prover, seq uint64, o Options) Proof {
	t.Helper()
	proof, e, err := p.Prove(seq)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckProof(proof, e.Line, o.Key.Verifier()); err != nil || e.Seq != seq || proof.Index != seq {
		t.Fatalf("entry %d: %v", seq, err)
	}
	return proof
}

func indexes(t testing.TB, folder string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestProver(t *testing.T) {
	l, points := sealedLedger(t)
	o := l.opts
	folder := filepath.Join(t.TempDir(), "proofs")
	p := mustProver(t, l.path, folder, o)
	last := points[len(points)-1]
	for seq := range last.Size {
		if proof := mustProve(t, p, seq, o); proof.Checkpoint.String() != last.String() {
			t.Fatalf("got %v, want %v", proof.Checkpoint, last)
		}
	}
	proof, err := Prove(l.path, 3, provable(o))
	if want := mustProve(t, p, 3, o); err != nil || proof.String() != want.String() {
		t.Errorf("got %v, %v", proof, err)
	}
	for _, old := range append([]Checkpoint{{Origin: "test", Root: new(Tree).Root()}}, points...) {
		c, err := p.ProveConsistency(old.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(c, old, o.Key.Verifier()); err != nil {
			t.Error(err)
		}
	}
	want := fmt.Sprintf("%s: entry %d is not sealed: the newest seal covers %d entries", l.path, last.Size, last.Size)
	if _, _, err := p.Prove(last.Size); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := p.ProveConsistency(last.Size + 1); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// It grows while proofs are made, and has half a line at its end.
	e := mustAppend(t, l, "note", "later")
	if _, _, err := p.Prove(e.Seq); err == nil {
		t.Error("what is not sealed is proved")
	}
	grown := mustCommit(t, l, "end").Checkpoint
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lineHead); err != nil {
		t.Fatal(err)
	}
	if proof := mustProve(t, p, e.Seq, o); proof.Checkpoint.String() != grown.String() {
		t.Errorf("got %v, want %v", proof.Checkpoint, grown)
	}
	if names := indexes(t, folder); len(names) > 0 {
		t.Errorf("a small ledger has an index: %s", names)
	}
}

func TestProverRefuses(t *testing.T) {
	t.Parallel()
	l, _ := sealedLedger(t)
	o := l.opts
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	noKeys := provable(o)
	noKeys.Keys = nil
	if _, err := OpenProver(l.path, "", noKeys); err == nil {
		t.Error("whose seals count was not said, and there are proofs")
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	cut := filepath.Join(t.TempDir(), "exec.jsonl")
	for n, want := range map[int]string{
		0: cut + ": it has no seal, and so nothing of it can be proved",
		1: cut + ": it has no seal, and so nothing of it can be proved",
		2: "",
	} {
		if err := os.WriteFile(cut, bytes.Join(lines[:n], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Prove(cut, 0, provable(o))
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%d lines: got %v, want %s", n, err, want)
		}
	}
	// Damage anywhere is named by the line that has it.
	for i, b := range whole {
		if i%7 > 0 && b != '\n' {
			continue
		}
		bad := bytes.Clone(whole)
		bad[i] ^= 1
		if err := os.WriteFile(cut, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Prove(cut, 0, provable(o))
		var broken *IntegrityError
		if !errors.As(err, &broken) || broken.Line != 1+bytes.Count(whole[:i], []byte("\n")) {
			t.Fatalf("byte %d, %q: got %v", i, b, err)
		}
	}
}

// A ledger that was written anew, with all its hashes but not its seals, gives no
// proof.
func TestNoProofOfWhatWasWrittenAnew(t *testing.T) {
	l, _ := sealedLedger(t)
	path := filepath.Join(t.TempDir(), "exec.jsonl")
	var (
		out  []byte
		prev Hash
		at   int64
		seal Entry
	)
	for e, err := range Read(l.path) {
		if err != nil {
			t.Fatal(err)
		}
		line := bytes.Clone(e.Line)
		if e.Seq == 3 {
			line = bytes.Replace(line, []byte(`"text":"x"`), []byte(`"text":"y"`), 1)
		}
		made, own, err := parseLine(line, nil)
		if err != nil {
			t.Fatal(err)
		}
		made.Prev = prev
		line = append(append(made.appendHead([]byte{0}), ','), own...)
		line = append(made.appendTail(line), '\n')[1:]
		prev = made.Hash
		if made.Offset = at; made.Kind == KindSeal {
			seal = made
		}
		at += int64(len(line))
		out = append(out, line...)
	}
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Prove(path, 0, provable(l.opts))
	var bad *IntegrityError
	if !errors.As(err, &bad) || bad.Seq != seal.Seq || bad.Offset != seal.Offset {
		t.Errorf("got %v, want an error about the last seal, %d", err, seal.Seq)
	}
}

// An index is made for a large ledger, is used again, and grows with it.
func TestIndexGrows(t *testing.T) {
	t.Parallel()
	l, o := bigLedger(t, indexedFrom)
	folder := filepath.Join(t.TempDir(), "a", "proofs")
	p := mustProver(t, l.path, folder, o)
	names := indexes(t, folder)
	if len(names) != 1 || p.stored == nil {
		t.Fatalf("got %s", names)
	}
	first, err := os.Stat(names[0])
	if err != nil || first.Mode().Perm() != 0o600 {
		t.Fatalf("got %v, %v", first, err)
	}
	size := p.Newest().Size
	if want := recordAt(size + 1); first.Size() != want {
		t.Errorf("%d bytes for %d entries, want %d", first.Size(), size+1, want)
	}
	for seq := uint64(0); seq < size; seq += 97 {
		mustProve(t, p, seq, o)
	}
	mustProve(t, p, size-1, o)
	addNotes(t, l, 250)
	for range 2 { // by the one that is open, and by another
		for _, seq := range []uint64{0, size, size + 1, size + 150} {
			mustProve(t, p, seq, o)
		}
		if p.Newest().Size <= size {
			t.Errorf("the newest seal covers %d entries", p.Newest().Size)
		}
		p = mustProver(t, l.path, folder, o)
	}
	again, err := os.Stat(names[0])
	if err != nil || !os.SameFile(first, again) || again.Size() != recordAt(p.Newest().Size+1) {
		t.Errorf("the index was not extended: %v, %v", again, err)
	}
	// What recovery cuts is not in it.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	mustProve(t, p, size+150, o)
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	mustProve(t, p, size+150, o)
	mustProve(t, mustProver(t, l.path, folder, o), size+150, o)
	// Where none can be kept, proofs are made without.
	if err := os.WriteFile(filepath.Join(filepath.Dir(folder), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, nowhere := range []string{filepath.Join(filepath.Dir(folder), "file", "proofs"), "/proc/proofs"} {
		p := mustProver(t, l.path, nowhere, o)
		if mustProve(t, p, 5, o); p.stored != nil {
			t.Errorf("%s holds an index", nowhere)
		}
	}
}

// Whatever is in the index, the proofs are right.
func TestWrongIndexIsMadeAnew(t *testing.T) {
	t.Parallel()
	l, o := bigLedger(t, indexedFrom)
	folder := t.TempDir()
	mustProver(t, l.path, folder, o)
	path := indexes(t, folder)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := mustProver(t, l.path, folder, o)
	size := p.Newest().Size
	proof := mustProve(t, p, 4711, o)
	try := func(name string, image []byte) {
		t.Helper()
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := OpenProver(l.path, folder, provable(o))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer p.Close()
		if got := mustProve(t, p, 4711, o); got.String() != proof.String() {
			t.Errorf("%s: got another proof", name)
		}
		c, err := p.ProveConsistency(102)
		if err != nil || len(c.Path) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	flip := func(at int64, bit byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= bit
		return b
	}
	for at := range int64(indexHead) {
		try(fmt.Sprintf("head byte %d", at), flip(at, 1))
	}
	for _, seq := range []uint64{0, 1, 2, 101, 4710, 4711, 4712, size - 1, size} {
		at := recordAt(seq)
		for _, i := range []int64{0, 2, 7} {
			try(fmt.Sprintf("offset of %d, byte %d", seq, i), flip(at+i, 1))
		}
		for i := at + offsetSize; i < recordAt(seq+1); i += 3 * 32 {
			try(fmt.Sprintf("hash of %d at %d", seq, i), flip(i, 1))
		}
	}
	for _, n := range []int64{0, 1, int64(indexHead), recordAt(1), recordAt(4711), recordAt(4711) + 3, recordAt(size), recordAt(size) + 9} {
		try(fmt.Sprintf("%d bytes of it", n), good[:n])
	}
	try("zeros", make([]byte, len(good)))
	try("more", append(bytes.Clone(good), good...))
	fewer := bytes.Clone(good)
	m := memory(fewer)
	x := index{image: &m}
	if err := x.commit(102); err != nil { // up to the second seal
		t.Fatal(err)
	}
	try("older", m)
	for i := range 16 {
		b := bytes.Clone(good)
		clear(b[i*len(b)/16 : (i+1)*len(b)/16])
		try(fmt.Sprintf("without part %d", i), b)
	}
	// That of another ledger in its place.
	other, _ := bigLedger(t, indexedFrom+100)
	stale := t.TempDir()
	mustProver(t, other.path, stale, o)
	b, err := os.ReadFile(indexes(t, stale)[0])
	if err != nil {
		t.Fatal(err)
	}
	try("another ledger's", b)
}
