package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/audit"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that the record of sessions is whole, and who signed it",
		ArgsUsage: "[SESSION|FILE|FOLDER]",
		Description: `A SESSION is an id, the beginning of one, or @last, the one in which something
happened last; without one all sessions of the root are checked, and the other
ledgers in it. FILE is one ledger, FOLDER the ledger folder of a session, from
wherever it was copied: nothing but its seals and receipts speaks for these. Each
hash, root and signature is computed again, each entry read, and the evidence of
each turn computed from the entries and compared.

VERIFIED, status 0: all is as it was written, and a host that is trusted here signed
it. INTACT BUT SIGNER UNKNOWN, status 6: it agrees with itself, and anybody may have
made it. BROKEN, status 4: it is not what was written, or not all of it; the first
bad line is named.

A ledger that was taken back to where it stood earlier, and all of the root with it,
is found with a receipt that was kept elsewhere: --checkpoint-out of agenthost run
writes one. One that no trusted host signed does not count.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "check all ledgers of the root, as without operands"},
			&cli.StringSliceFlag{Name: "receipt", Usage: "a checkpoint of a session in `FILE`: the session must contain it"},
			trustFlag(),
		},
		Action: p.verify,
	}
}

func (p *program) verify(c *cli.Context) error {
	given, err := p.operands(c, 0, 1)
	if err != nil {
		return err
	}
	if c.Bool("all") && len(given) > 0 {
		return usageError(fmt.Sprintf("verify got --all and %q", given[0]), "give one of them")
	}
	trusted, err := trusting(c.Context, c.StringSlice("trust"))
	if err != nil {
		return err
	}
	receipts, err := readReceipts(c.StringSlice("receipt"), trusted)
	if err != nil {
		return err
	}
	verdicts, err := p.verdicts(c.Context, given, trusted, receipts)
	if err != nil {
		return err
	}
	return p.showVerdicts(verdicts)
}

// trusting are the hosts that are trusted, with those of --trust.
func trusting(ctx context.Context, keys []string) ([]ledger.Verifier, error) {
	hosts, err := trustedHosts()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		host, err := givenHost(ctx, key)
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func readReceipts(names []string, trusted []ledger.Verifier) (receipts []audit.Receipt, err error) {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, openError(name, err)
		}
		text, err := io.ReadAll(io.LimitReader(f, audit.MaxReceipt+1))
		f.Close()
		if err != nil {
			return nil, openError(name, err)
		}
		r, err := audit.ParseReceipt(name, text, trusted)
		if err != nil {
			hint := "a receipt is what agenthost run --checkpoint-out wrote"
			if errors.Is(err, audit.ErrReceiptSigner) {
				hint = "without its signature anybody can have written it; trust that host with agenthost ledger trust, or with --trust"
			}
			return nil, &failure{message: err.Error(), hint: hint, code: exitUsage, err: err}
		}
		receipts = append(receipts, r)
	}
	return receipts, nil
}

// verdicts are on what was named: one file, one folder, one session, or all.
func (p *program) verdicts(ctx context.Context, given []string, trusted []ledger.Verifier, receipts []audit.Receipt) ([]audit.Verdict, error) {
	if len(given) == 1 && isPath(given[0]) {
		return verifyPath(given[0], trusted, receipts)
	}
	root, err := p.openRootTrusting(func() ([]ledger.Verifier, error) { return trusted, nil })
	if err != nil {
		return nil, err
	}
	defer root.Close()
	o := audit.RootOptions{Receipts: receipts, Progress: func(done, of int) { p.term.progress("verifying: %d of %s", done, count(of, "session")) }}
	if len(given) == 0 {
		if err := p.there(root, "verified"); err != nil && len(receipts) == 0 {
			return nil, err
		}
		return audit.VerifyRoot(ctx, root, o)
	}
	id, _, missing := findSession(root, given[0])
	if missing != nil {
		if id, err = session.ParseID(given[0]); err != nil {
			return nil, missing
		}
	}
	for _, r := range receipts {
		if r.Session != string(id) {
			return nil, usageError(fmt.Sprintf("receipt %s: it is of %s, and %s is verified", r.Name, r.Session, id), "leave it out, or verify --all")
		}
	}
	o.Session = id
	verdicts, err := audit.VerifyRoot(ctx, root, o)
	if err == nil && len(verdicts) == 0 {
		err = missing
	}
	return verdicts, err
}

func verifyPath(name string, trusted []ledger.Verifier, receipts []audit.Receipt) ([]audit.Verdict, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, openError(name, err)
	}
	file, folder := name, ""
	if info.IsDir() {
		folder = ledgerFolder(name)
		file = filepath.Join(folder, record.ExecFile)
	}
	if err := audit.CheckReceipts(file, receipts); err != nil {
		return nil, &failure{message: err.Error(), hint: "leave it out", code: exitUsage, err: err}
	}
	if folder == "" {
		return []audit.Verdict{audit.VerifyFile(file, trusted, receipts)}, nil
	}
	v := audit.VerifySession(folder, audit.Known{Trusted: trusted, Receipts: receipts})
	v.File = name
	return []audit.Verdict{v}, nil
}

// isPath tells a file or folder from the id of a session.
func isPath(operand string) bool {
	if strings.ContainsRune(operand, filepath.Separator) || strings.HasSuffix(operand, ".jsonl") || operand == "." || operand == ".." {
		return true
	}
	_, err := os.Lstat(operand)
	return err == nil && !strings.HasPrefix(operand, "SES-")
}

// ledgerFolder is the ledger folder of a session whose folder, or whose ledger
// folder, is dir.
func ledgerFolder(dir string) string {
	beneath := filepath.Join(dir, "ledger")
	if _, err := os.Lstat(filepath.Join(beneath, record.ExecFile)); err == nil {
		return beneath
	}
	return dir
}
