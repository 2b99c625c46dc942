package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) ledgerProveCommand() *cli.Command {
	return &cli.Command{
		Name:      "prove",
		Usage:     "prove that an entry is in a ledger, without the rest of it",
		ArgsUsage: "SESSION|FILE|FOLDER SEQ",
		Description: `SEQ is the number of the entry, its member seq, as ledger show --json prints it.
The proof (a C2SP tlog-proof) and the line of the entry are enough, with the
verifier key of this host, for agenthost ledger check-proof on any machine: it shows
that the line is in the ledger as it was sealed last, and nothing of other lines but
how many there are.
It is written for the newest seal. Of a large ledger an index is kept in the user's
cache folder; nothing in it is believed.`,
		Flags: []cli.Flag{
			evidenceFlag(),
			outputFileFlag("the proof"),
			&cli.StringFlag{Name: "line", Usage: "write the line of the entry to `FILE`, so that both can be handed over"},
		},
		Action: p.ledgerProve,
	}
}

// proofAnswer is the answer of ledger prove --json.
type proofAnswer struct {
	Ledger string      `json:"ledger"` // the file
	Origin string      `json:"origin"`
	Index  uint64      `json:"index"`
	Size   uint64      `json:"size"` // entries that the checkpoint is of
	Root   ledger.Hash `json:"root"`
	Host   string      `json:"host"`     // verifier key of the host that answers for it
	Signed bool        `json:"cosigned"` // by that host itself
	Proof  string      `json:"proof"`
	Line   string      `json:"line"`
}

func (p *program) ledgerProve(c *cli.Context) error {
	given, err := p.operands(c, 2, 2)
	if err != nil {
		return err
	}
	seq, err := strconv.ParseUint(given[1], 10, 53)
	if err != nil {
		return usageError(fmt.Sprintf("%q is not the number of an entry", given[1]), "entries are counted from 0; agenthost ledger show --json prints the number of each as seq")
	}
	path, err := p.ledgerPath(c, given[0])
	if err != nil {
		return err
	}
	proofFile, err := openNew("--output", c.String("output"), "name another file")
	if err != nil {
		return err
	}
	defer proofFile.drop()
	lineFile, err := openNew("--line", c.String("line"), "name another file")
	if err != nil {
		return err
	}
	defer lineFile.drop()
	proof, line, s, err := prove(path, seq)
	if err != nil {
		return err
	}
	answerable, ok := s.host(proof.Checkpoint)
	if !ok {
		return fmt.Errorf("%s: none of the keys that it introduces signed its last seal", path)
	}
	own, err := cosign(&proof.Checkpoint, answerable)
	if err != nil {
		return err
	}
	if err := lineFile.write(append(line, '\n')); err != nil {
		return err
	}
	if err := p.handOver(proofFile, []byte(proof.String()), proofAnswer{
		path, proof.Checkpoint.Origin, proof.Index, proof.Checkpoint.Size, proof.Checkpoint.Root,
		answerable.String(), own || s.hosts != nil, proof.String(), string(line),
	}); err != nil {
		return err
	}
	if !own && s.hosts == nil {
		p.noteOtherHost(answerable)
	}
	return nil
}

// prove makes the proof of an entry, whose line it gives, and knows who signed it.
func prove(path string, seq uint64) (proof ledger.Proof, line []byte, s *source, err error) {
	fail := func(err error) (ledger.Proof, []byte, *source, error) { return ledger.Proof{}, nil, nil, err }
	if s, err = sealedSource(path); err != nil {
		return fail(err)
	}
	folder := ""
	if cache, err := host.CacheDir(); err == nil { // without one it only takes longer
		folder = filepath.Join(cache, proofFolder)
	}
	prover, err := ledger.OpenProver(path, folder, s.options)
	if err != nil {
		return fail(err)
	}
	defer prover.Close()
	proof, e, err := prover.Prove(seq)
	switch newest := prover.Newest(); {
	case err != nil && seq >= newest.Size:
		return fail(&failure{
			message: fmt.Sprintf("entry %d of %s is not there, or not sealed yet: the newest seal is over %s", seq, path, entries(newest.Size)),
			hint:    "agenthost ledger show --json prints what is there; what a turn did is sealed when it ends", code: exitUsage, err: err,
		})
	case err != nil:
		return fail(err)
	}
	if _, ok := s.host(proof.Checkpoint); ok {
		return proof, e.Line, s, nil
	}
	// The process that sealed it is not the first one: all of them are in the ledger.
	if s, err = sealedSource(path); err != nil {
		return fail(err)
	}
	_, err = ledger.Verify(path, s.options)
	return proof, e.Line, s, err
}

// proofFolder is the folder of the indexes in the cache, and proofSuffix what their
// names end in.
const (
	proofFolder = "proofs"
	proofSuffix = ".tlog"
)

// cleanProofs removes the indexes from a cache that drop says by when they were last
// written, and returns how many bytes that freed.
func cleanProofs(cache string, drop func(written time.Time) bool) (freed int64, err error) {
	dir := filepath.Join(cache, proofFolder)
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil || !strings.HasSuffix(e.Name(), proofSuffix) || !drop(info.ModTime()) {
			continue // gone meanwhile, or not ours
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += info.Size()
	}
	return freed, err
}
