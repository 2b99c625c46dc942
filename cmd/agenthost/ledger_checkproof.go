package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/hostkey"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerCheckProofCommand() *cli.Command {
	return &cli.Command{
		Name:      "check-proof",
		Usage:     "check that a line is an entry of a ledger, without the ledger",
		ArgsUsage: "PROOF LINE",
		Description: `PROOF and LINE are the files that agenthost ledger prove wrote; one of them may be
"-", standard input. Nothing else is needed but the verifier key of the host, which
agenthost ledger key prints there: trusted with agenthost ledger trust, or by --trust
for this once.
Status 0 and VERIFIED if a trusted host signed that the line is in the ledger, 6 and
INTACT BUT SIGNER UNKNOWN if somebody did whom nobody here trusts, 4 and BROKEN if
the line is not what is proved, or a signature is wrong. Which ledger it is, and
which entry of it, is printed: see that they are those you asked for.`,
		Flags: []cli.Flag{
			trustFlag(),
		},
		Action: p.ledgerCheckProof,
	}
}

// proofVerdict is the answer of ledger check-proof --json.
type proofVerdict struct {
	Verdict string          `json:"verdict"`
	Origin  string          `json:"origin"`
	Index   uint64          `json:"index"`
	Size    uint64          `json:"size"` // entries that the checkpoint is of
	Root    ledger.Hash     `json:"root"`
	Host    string          `json:"host,omitempty"`    // verifier key of the trusted one that signed it
	Signers []string        `json:"signers,omitempty"` // who else says to have signed it: NAME+HASH
	Error   string          `json:"error,omitempty"`
	Entry   json.RawMessage `json:"entry,omitempty"` // the line, unless it is broken
}

// Bounds of what is read, in bytes.
const (
	mostProof = 256 << 10
	mostLine  = record.MaxEvidence
)

func (p *program) ledgerCheckProof(c *cli.Context) error {
	given, err := p.operands(c, 2, 2)
	if err != nil {
		return err
	}
	if given[0] == "-" && given[1] == "-" {
		return usageError("PROOF and LINE are both standard input", `only one of them can be "-"`)
	}
	hosts, err := trusting(c.Context, c.StringSlice("trust"))
	if err != nil {
		return err
	}
	text, err := p.readSmall(c.Context, given[0], mostProof)
	if err != nil {
		return err
	}
	proof, err := ledger.ParseProof(text)
	if err != nil {
		return usageError(inWords(given[0])+": "+err.Error(), "it is what agenthost ledger prove writes, whole and as it was written")
	}
	line, err := p.readSmall(c.Context, given[1], mostLine)
	if err != nil {
		return err
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	if len(line) == 0 || bytes.ContainsRune(line, '\n') {
		return usageError(inWords(given[1])+" is not one line", "it is the line of an entry, as agenthost ledger prove --line writes it")
	}
	return p.showProof(checkProof(proof, line, hosts), line)
}

// checkProof judges a proof by those who are trusted.
func checkProof(proof ledger.Proof, line []byte, hosts []ledger.Verifier) proofVerdict {
	c := proof.Checkpoint
	v := proofVerdict{Verdict: audit.SignerUnknown, Origin: c.Origin, Index: proof.Index, Size: c.Size, Root: c.Root}
	if err := proof.Includes(line); err != nil {
		v.Verdict, v.Error = audit.Broken, err.Error()
		return v
	}
	for _, s := range c.Signatures {
		signer := signerOf(s)
		for _, host := range hosts {
			if host.Name() != s.Name || !host.Made(s.Value) {
				continue
			}
			if err := host.Check(c.Text(), s.Value); err != nil {
				v.Verdict, v.Host, v.Error = audit.Broken, "", fmt.Sprintf("checkpoint of %s by %s: %v", c.Origin, archive.KeyName(host.String()), err)
				return v
			}
			v.Verdict, v.Host, signer = audit.Verified, host.String(), ""
		}
		if signer != "" {
			v.Signers = append(v.Signers, signer)
		}
	}
	if err := misplaced(c.Origin, line); err != nil {
		v.Verdict, v.Host, v.Error = audit.Broken, "", err.Error()
		return v
	}
	v.Entry = line
	return v
}

// signerOf is the name and the hash of the key that a signature says to be by.
func signerOf(s ledger.Signature) string {
	sig, err := base64.StdEncoding.DecodeString(s.Value)
	if err != nil || len(sig) < 4 {
		return s.Name
	}
	return fmt.Sprintf("%s+%x", s.Name, sig[:4])
}

// misplaced returns an error if a line is of another session than the ledger is
// that the checkpoint names.
func misplaced(origin string, line []byte) error {
	e, err := readLine(line)
	if err != nil {
		return err
	}
	parts := strings.Split(origin, "/")
	if len(parts) == 4 && strings.HasPrefix(parts[2], "SES-") && parts[2] != e.Session {
		return fmt.Errorf("the line is of %s, and the checkpoint of %s", e.Session, origin)
	}
	return nil
}

// readLine takes apart a line whose form was checked.
func readLine(line []byte) (ledger.Entry, error) {
	var head struct {
		Seq     uint64    `json:"seq"`
		Time    time.Time `json:"ts"`
		Kind    string    `json:"kind"`
		Session string    `json:"sid"`
		Turn    int       `json:"turn"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return ledger.Entry{}, fmt.Errorf("the line is no entry: %w", err)
	}
	return ledger.Entry{Seq: head.Seq, Time: head.Time.UTC(), Kind: head.Kind, Session: head.Session, Turn: head.Turn, Line: line}, nil
}

// showProof prints a verdict, and is the failure that it ends with.
func (p *program) showProof(v proofVerdict, line []byte) error {
	what := fmt.Sprintf("entry %d of %s", v.Index, v.Origin)
	switch {
	case p.json:
		if err := p.term.value(v); err != nil {
			return err
		}
	case v.Verdict == audit.Broken:
		p.term.line("%s %s", v.Verdict, what)
	default:
		if v.Host != "" {
			what += ", signed by " + archive.KeyName(v.Host)
		}
		p.term.line("%s %s", v.Verdict, what)
		p.term.line("  one of %s with the root %s", entries(v.Size), v.Root)
		e, err := readLine(line)
		if err != nil {
			return err
		}
		lines := timeline{dated: true}
		for _, r := range lines.rows(e) {
			p.term.row("  "+strings.TrimLeft(r.text, " "), r.names)
		}
	}
	switch v.Verdict {
	case audit.Verified:
		return nil
	case audit.Broken:
		return &failure{message: v.Error, hint: "do not believe the line: it is not what was recorded, or the proof is of another one", code: exitIntegrity}
	}
	return &failure{
		message: fmt.Sprintf("no host that is trusted here signed it: it is signed by %s, and anybody may have made it", strings.Join(v.Signers, ", ")),
		hint:    "agenthost ledger key prints the verifier key on the host it is from: pass it with --trust KEY; if that does not help make the proof there, where the host key is",
		code:    exitRefused,
	}
}

// trustFlag is about hosts.
func trustFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "trust", Usage: "a verifier `KEY` of a host, or @FILE with one in it, to be trusted this time"}
}

// givenHost is the host whose verifier key a flag gives: itself, or as @FILE.
func givenHost(ctx context.Context, given string) (ledger.Verifier, error) {
	text := given
	if name, ok := strings.CutPrefix(given, "@"); ok {
		data, err := until(ctx, func() ([]byte, error) { return readFile("--trust "+given, name, 4<<10) }) // it may be a pipe
		if err != nil {
			return ledger.Verifier{}, err
		}
		text = strings.TrimSpace(string(data))
	}
	host, err := hostkey.Parse(text)
	if err != nil {
		return ledger.Verifier{}, notAHost(err)
	}
	return host, nil
}

// readSmall reads a file that was named, or standard input, of at most that size.
func (p *program) readSmall(ctx context.Context, name string, most int64) ([]byte, error) {
	return until(ctx, func() ([]byte, error) {
		if name == "-" {
			return readAll(inWords(name), p.stdin, most)
		}
		return readFile(name, name, most)
	})
}

func readFile(what, name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError(what+": "+err.Error(), "names are relative to the current folder")
	}
	defer f.Close()
	return readAll(what, f, most)
}

func readAll(what string, r io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, usageError(what+": "+err.Error(), "give a file that can be read")
	case int64(len(data)) > most:
		return nil, usageError(fmt.Sprintf("%s has more than %s", what, bytesText(most)), "see agenthost ledger check-proof --help")
	}
	return data, nil
}

// inWords is an operand as a person calls it.
func inWords(operand string) string {
	if operand == "-" {
		return "standard input"
	}
	return operand
}
