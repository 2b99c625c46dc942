package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/ledger"
	"github.com/agenthost/agenthost/ledger/ledgertest"
)

const (
	format   = "../../ledger/README.md"
	otherOne = "../../ledger/testdata/verify.py" // the verifier in another language
)

// The test vectors in the text of the format are what this package writes, and the
// verifier in another language accepts them as they stand there.
func TestVectors(t *testing.T) {
	const plane, session = "ho1", "SES-1"
	dir := t.TempDir()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	host := must(ledgertest.Host())
	key, process, err := NewProcessKey(plane, session, host, source(2))
	if err != nil {
		t.Fatal(err)
	}
	logs := map[string]*ledger.Log{}
	for name, o := range map[string]ledger.Options{ExecFile: ExecOptions(session), EvidenceFile: EvidenceOptions(session)} {
		o.Now, o.Key, o.Origin = func() time.Time { return now }, key, ExecOrigin(plane, session)
		if name == EvidenceFile {
			o.Origin = EvidenceOrigin(plane, session)
		}
		logs[name], err = ledger.Create(filepath.Join(dir, name), o)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		defer logs[name].Close()
	}
	if err := os.Mkdir(filepath.Join(dir, BlobFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	seed, err := ledger.PutBlob(filepath.Join(dir, BlobFolder), []byte("yes"), [ledger.NonceSize]byte{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = logs[ExecFile].Commit(0, SessionOpen{
		"0.1.0", Package{"PKG-A", "1.0.0", hashOf("package")}, hashOf("module"), plane, "wazero 1.12.0", "amd64", seed, process,
	})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if _, err = logs[EvidenceFile].Finish(0); err != nil {
		t.Fatal(err)
	}
	last, err := logs[ExecFile].Finish(0, SessionClose{0})
	if err != nil {
		t.Fatal(err)
	}
	o := ExecOptions(session)
	o.Keys = new(SessionKeys).Exec()
	proof, err := ledger.Prove(filepath.Join(dir, ExecFile), 0, o)
	if err != nil {
		t.Fatal(err)
	}
	exec := must(os.ReadFile(filepath.Join(dir, ExecFile)))
	if err := ledger.CheckProof(proof, splitAfter(exec)[0], key.Verifier()); err != nil {
		t.Error(err)
	}
	text := must(os.ReadFile(format))
	for _, v := range []struct{ name, content string }{
		{"the host's key", host.Secret() + "\n" + host.String() + "\n"},
		{"the key of the process", key.Secret() + "\n" + key.String() + "\n"},
		{"what the host signs", process.statement(plane, session)},
		{"key_sig", process.KeySig + "\n"},
		{ExecFile, string(exec)},
		{EvidenceFile, string(must(os.ReadFile(filepath.Join(dir, EvidenceFile))))},
		{"the checkpoint", last.Checkpoint.String()},
		{"the proof", proof.String()},
	} {
		if block := "\n```\n" + v.content + "```\n"; !strings.Contains(string(text), block) {
			t.Errorf("%s does not have %s:%s", format, v.name, block)
		}
	}
	if _, err := VerifySession(dir); err != nil {
		t.Error(err)
	}
	receipt := filepath.Join(dir, "receipt")
	if err := os.WriteFile(receipt, []byte(last.Checkpoint.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	other(t, ledgertest.Verified, "--trust", host.String(), "--receipt", receipt, dir)
	other(t, ledgertest.SignerUnknown, "--receipt", receipt, dir)
}

// A verifier that one can read in one sitting.
func TestOtherVerifierIsShort(t *testing.T) {
	if lines := strings.Count(string(must(os.ReadFile(otherOne))), "\n"); lines >= 100 {
		t.Errorf("%s has %d lines, want fewer than 100", otherOne, lines)
	}
}

// other holds the verifier in another language to a verdict.
func other(t *testing.T, want ledgertest.Verdict, args ...string) {
	t.Helper()
	t.Run(filepath.Base(args[len(args)-1]), func(t *testing.T) {
		if testing.Short() {
			t.Skip("the other verifier takes a second for each session")
		}
		t.Parallel()
		got, out, err := ledgertest.Verify(otherOne, args...)
		if errors.Is(err, ledgertest.ErrNoPython) {
			t.Skip(err)
		}
		if err != nil || got != want {
			t.Errorf("the other verifier says: %s, %v, want %s", out, err, want)
		}
	})
}
