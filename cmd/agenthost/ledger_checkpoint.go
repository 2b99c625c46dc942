package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/session"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerCheckpointCommand() *cli.Command {
	return &cli.Command{
		Name:      "checkpoint",
		Usage:     "print the signed checkpoint of a ledger, to be kept elsewhere",
		ArgsUsage: "[SESSION|FILE|FOLDER]",
		Description: `A checkpoint says how many entries a ledger had at its last seal, and what hash all
of them had together. It is signed by the process that sealed it, and by this host
where that process was one of this host's: what run --checkpoint-out writes. Kept
where who can write the root cannot, it is a receipt: agenthost verify --receipt
FILE then shows whether the session still has all of it. Before it is printed all
of the ledger is verified, status 4 if it is broken.
With --register and no operand it is the checkpoint of the register of a plane, which
knows where each of its sessions stands: one for all of them.`,
		Flags: []cli.Flag{
			evidenceFlag(),
			&cli.StringFlag{Name: "register", Usage: "the register of `PLANE` instead of a session"},
			outputFileFlag("the checkpoint"),
		},
		Action: p.ledgerCheckpoint,
	}
}

// outputFileFlag names the file that what is printed goes to.
func outputFileFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write " + what + " to `FILE` instead of standard output"}
}

// checkpointAnswer is the answer of ledger checkpoint --json.
type checkpointAnswer struct {
	Ledger     string      `json:"ledger"` // the file
	Origin     string      `json:"origin"`
	Size       uint64      `json:"size"` // entries
	Root       ledger.Hash `json:"root"`
	Host       string      `json:"host"`     // verifier key of the host that answers for it
	Signed     bool        `json:"cosigned"` // by that host itself
	Sealed     uint64      `json:"sealed"`   // entries up to the seal, that included
	Entries    uint64      `json:"entries"`
	Final      bool        `json:"final"`
	Checkpoint string      `json:"checkpoint"` // a signed note
}

func (p *program) ledgerCheckpoint(c *cli.Context) error {
	path, err := p.checkpointed(c)
	if err != nil {
		return err
	}
	out, err := openNew("--output", c.String("output"), "name another file")
	if err != nil {
		return err
	}
	defer out.drop()
	s, err := sealedSource(path)
	if err != nil {
		return err
	}
	report, err := ledger.Verify(path, s.options)
	if err != nil {
		return err
	}
	if report.Sealed == 0 {
		return notSealed(path)
	}
	checkpoint := report.Checkpoint
	host, ok := s.host(checkpoint)
	if !ok {
		return fmt.Errorf("%s: none of the keys that it introduces signed its last seal", path)
	}
	own, err := cosign(&checkpoint, host)
	if err != nil {
		return err
	}
	if err := p.handOver(out, []byte(checkpoint.String()), checkpointAnswer{
		path, checkpoint.Origin, checkpoint.Size, checkpoint.Root, host.String(), own || s.hosts != nil,
		report.Sealed, report.Entries, report.Final, checkpoint.String(),
	}); err != nil {
		return err
	}
	if behind := report.Entries - report.Sealed; behind > 0 || report.Torn != nil {
		p.term.note("%s behind the last seal are not in it", entries(behind))
	}
	if !own && s.hosts == nil {
		p.noteOtherHost(host)
	}
	return nil
}

// checkpointed is the ledger whose checkpoint is asked for.
func (p *program) checkpointed(c *cli.Context) (string, error) {
	plane := c.String("register")
	if !c.IsSet("register") {
		given, err := p.operands(c, 1, 1)
		if err != nil {
			return "", err
		}
		return p.ledgerPath(c, given[0])
	}
	given, err := p.operands(c, 0, 1)
	switch {
	case err != nil:
		return "", err
	case len(given) > 0:
		return "", usageError(fmt.Sprintf("ledger checkpoint got --register and %q", given[0]), "give one of them")
	case c.Bool("evidence"):
		return "", usageError("ledger checkpoint got --register and --evidence", "give one of them")
	case !slices.Contains(session.Planes(), plane):
		return "", usageError(fmt.Sprintf("--register %q is no plane", plane), "one of "+strings.Join(session.Planes(), ", "))
	}
	root, err := p.openRoot()
	if err != nil {
		return "", err
	}
	defer root.Close()
	path := filepath.Join(root.Path(), "planes", plane, "ledger", record.RegisterFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return "", usageError("plane "+plane+" has no register here", "it gets one with its first session")
	}
	return path, nil
}

// handOver prints a text, or writes it to the file that was named for it, and says
// with --json what it is.
func (p *program) handOver(out *newFile, text []byte, answer any) error {
	if err := out.write(text); err != nil {
		return err
	}
	switch {
	case p.json:
		return p.term.value(answer)
	case out == nil:
		p.term.text(string(text))
	}
	return nil
}

// noteOtherHost tells why a checkpoint lacks the signature of a host.
func (p *program) noteOtherHost(host ledger.Verifier) {
	p.term.note("it is not signed by a host: the processes that sealed it are those of %s, whose key is not here", archive.KeyName(host.String()))
}

// notSealed is about a ledger without a seal.
func notSealed(path string) error {
	return &failure{message: path + ": nothing of it is sealed", hint: "it is sealed as soon as its first turn has ended", code: exitUsage}
}
