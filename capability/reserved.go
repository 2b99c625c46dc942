package capability

import "strings"

// Names that no grant reaches, whatever it says. The folders of the control
// plane are never written; the guest's own /tmp and /out, and where agenthost
// keeps its root, stand in front of the workspace's; another session's output,
// the reader's own session, and what sessions set aside are never read.
//
// control/ is not withheld from reading here, because a workspace outside a
// control plane may have a folder of that name: who knows that the root is the
// workspace attenuates with Rights{Withhold: {"control/**", …}}.

// reservedFault refuses a pattern (without braces) that asks for such names.
func reservedFault(op Op, segments []string) *fault {
	first, literal := literalSegment(segments[0])
	if !literal {
		return nil
	}
	if prefix := libraryPrefix(first); prefix != "" {
		return &fault{"asks for names that begin with " + prefix, "the files of packages are spelled so, and are read beneath .agenthost/ without a grant"}
	}
	switch first {
	case ".agenthost":
		return &fault{"asks for names beneath .agenthost/", "packages are read there without a grant; all else in it is agenthost's own"}
	case "tmp":
		return &fault{"asks for names beneath tmp/", "every guest has a /tmp of its own, without a grant"}
	case "out":
		return &fault{"reaches out/ by other letters than out/ at its beginning", "write out/ patterns apart: out/**"}
	case "output":
		if len(segments) < 2 || segments[1] != placeholder {
			return &fault{"asks for names beneath output/ that are not the session's own", "write out/**, which is output/" + placeholder + "/**"}
		}
	case "planes", "ledger", "registries", "packages_store", "control":
		if op == Write {
			return &fault{"asks to write beneath " + first + "/", "only agenthost itself writes there; declare an output elsewhere, such as out/**"}
		}
	}
	return nil
}

// namesSession says that a pattern without braces spells out one session in
// planes/PLANE/sessions/SESSION/.
func namesSession(segments []string) bool {
	if len(segments) < 4 {
		return false
	}
	for i, want := range []string{"planes", "", "sessions"} {
		word, literal := literalSegment(segments[i])
		if segments[i] == "**" || literal && want != "" && word != want {
			return false
		}
	}
	_, literal := literalSegment(segments[3])
	return literal
}

// sessionFolder splits name at planes/PLANE/sessions/SESSION.
func sessionFolder(name string) (session, beneath string, ok bool) {
	rest, ok := strings.CutPrefix(name, "planes/")
	if !ok {
		return "", "", false
	}
	if _, rest, ok = strings.Cut(rest, "/"); !ok {
		return "", "", false
	}
	if rest, ok = strings.CutPrefix(rest, "sessions/"); !ok {
		return "", "", false
	}
	session, beneath, _ = strings.Cut(rest, "/")
	return session, beneath, true
}

// libraryPrefix returns how the names of a package's files begin, in manifests
// and ledgers, if name begins so, else "". No file of the workspace may, or the
// record of the one could not be told from that of the other.
func libraryPrefix(name string) string {
	for _, prefix := range []string{"pkg:", "deps:"} {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// isOwnOutput says that name is output/SESSION or beneath it.
func isOwnOutput(name, session string) bool {
	rest, ok := strings.CutPrefix(name, "output/")
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, session)
	return ok && (rest == "" || rest[0] == '/')
}

// reserved returns the rule that keeps name from op, or "". What it says of a
// folder holds for all that is beneath; of output alone it does not.
func reserved(op Op, name, session string) string {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case ".agenthost":
		return "reserved .agenthost/**"
	case "tmp":
		return "reserved tmp/**"
	case "out":
		return "reserved out/**"
	case "output":
		if !isOwnOutput(name, session) {
			return "reserved output/**"
		}
	default:
		if prefix := libraryPrefix(first); prefix != "" {
			return "reserved " + prefix + "*/**"
		}
	}
	if op == Write {
		switch first {
		case "planes":
			return "reserved planes/**"
		case "ledger":
			return "reserved ledger/**"
		case "registries":
			return "reserved registries/**"
		case "packages_store":
			return "reserved packages_store/**"
		case "control":
			return "reserved control/**"
		}
		return ""
	}
	of, beneath, ok := sessionFolder(name)
	if !ok {
		return ""
	}
	if of == session {
		return "reserved planes/*/sessions/" + placeholder + "/**"
	}
	beneath = strings.TrimPrefix(beneath, "ledger/")
	switch beneath, _, _ = strings.Cut(beneath, "/"); beneath {
	case "blobs":
		return "reserved planes/*/sessions/*/ledger/blobs/**"
	case "staging":
		return "reserved planes/*/sessions/*/staging/**"
	case "blocked":
		return "reserved planes/*/sessions/*/blocked/**"
	}
	return ""
}

// reservedBeneath says that some name beneath folder is kept from op whatever is
// granted.
func reservedBeneath(op Op, folder, session string) bool {
	first, _, _ := strings.Cut(folder, "/")
	switch first {
	case ".", "planes", "output":
		return !isOwnOutput(folder, session)
	}
	return reserved(op, folder, session) != ""
}
