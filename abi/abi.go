package abi

import "strings"

// Version is the major version, told to guests in [EnvABI] and in the header.
const Version = 1

// Minor counts additions to version 1: new operations and new reply members.
const Minor = 0

// Module is the import module of version 1. ModulePrefix begins the name in
// every version, so that a guest for another one is recognized.
const (
	Module       = "agenthost_v1"
	ModulePrefix = "agenthost_v"
)

// The two functions of [Module].
const (
	FuncCall = "call"
	FuncMore = "more"
)

// What a guest exports: its entry point and its linear memory.
const (
	ExportStart  = "_start"
	ExportMemory = "memory"
)

// Negative results of both functions, fixed for ever.
const (
	ResultMalformed  int32 = -1 // the request is not a message
	ResultBadPointer int32 = -2 // a range lies outside linear memory
	ResultLimit      int32 = -3 // a limit of this contract is exceeded
	ResultUnknownOp  int32 = -4 // the operation does not exist
)

// Operations of version 1.
const (
	OpRequest = "request" // the header again
	OpResult  = "result"  // the result of the turn; wins over stdout
	OpRead    = "read"
	OpWrite   = "write"
	OpList    = "list"
	OpExec    = "exec"
	OpLog     = "log"
	OpCheck   = "check" // asks; never ends the turn
	OpHash    = "hash"  // SHA-256 of a file or of the body
	OpInfo    = "info"
)

// Operations reserved for later minor versions: for now each is answered with
// [CodeUnsupported].
const (
	OpHTTP    = "http"
	OpModel   = "model"
	OpApprove = "approve"
)

// Codes of a reply that is not ok. A violation has none: it ends the instance.
const (
	CodeNotFound    = "not_found"
	CodeTimeout     = "timeout"
	CodeLimit       = "limit"
	CodeFailed      = "failed"
	CodeUnsupported = "unsupported"

	// CodeMalformed is answered by the device file alone, where [Module] has
	// [ResultMalformed].
	CodeMalformed = "malformed"
)

// Members of every message that are not of one operation.
const (
	MemberOp   = "op"
	MemberBody = "body" // bytes that follow the line
)

// Levels of [OpLog].
const (
	LevelDebug = "debug"
	LevelInfo  = "info" // where none is given
	LevelWarn  = "warn"
	LevelError = "error"
)

// Kinds of the entries of [OpList].
const (
	KindFile   = "file"
	KindFolder = "folder"
	KindDevice = "device"
)

// Places in the guest's view.
const (
	Dir        = "/.agenthost"             // belongs to the host, read-only
	DevicePath = "/.agenthost/call"        // the same dispatcher, as a file
	PolicyPath = "/.agenthost/policy.json" // effective rights of the turn
	PackageDir = "/.agenthost/pkg"         // the package's own files
	DepsDir    = "/.agenthost/deps"        // one folder per dependency, named by id
	OutDir     = "/out"                    // the session's output folder
	TmpDir     = "/tmp"                    // scratch of one turn
)

// Limits of the contract itself, in bytes. A turn's limits may be lower.
const (
	MaxPath    = 4096     // a path as a guest passes it
	MaxRequest = 1 << 20  // the line of a message
	MaxBody    = 15 << 20 // what follows it, of a request and of a reply
	MaxReply   = 16 << 20 // a whole reply, body included
)

// Environment of every guest. [Environ] gives the values.
const (
	EnvABI     = "AGENTHOST_ABI"
	EnvSession = "AGENTHOST_SESSION"
	EnvTurn    = "AGENTHOST_TURN"
	EnvTmpdir  = "TMPDIR"
	EnvTemp    = "TEMP"
	EnvTmp     = "TMP"
	EnvHome    = "HOME"
	EnvPwd     = "PWD"

	envPrefix = "AGENTHOST_"
)

// ReservedEnv reports whether name is set by the host, or may be one day, so
// that a manifest cannot give it a value.
func ReservedEnv(name string) bool {
	switch name {
	case EnvTmpdir, EnvTemp, EnvTmp, EnvHome, EnvPwd:
		return true
	}
	return strings.HasPrefix(name, envPrefix)
}
