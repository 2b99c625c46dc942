// Package abi is the contract between agenthost and its guests: the names,
// numbers and encodings both sides must agree on, version 1.
//
// It decides nothing and does nothing: no file is opened, no memory touched, no
// right judged here. What is written in this package never changes within a
// version; a later version gets another module name.
//
// # Messages
//
// A guest sends a request and gets a reply. Either is a message: one line of
// JSON, an object, and after its newline a body of raw bytes, if there is one.
//
//	{"op":"write","path":"out/a.png"}\n<bytes>
//
// The line of a request has at most [MaxRequest] bytes of UTF-8. Its members are
// those of its op, and [MemberOp] and [MemberBody]; any other is refused, and so
// is one that is there twice. Numbers are integers from 0 to 2^53-1 in plain
// digits. A line nests 16 deep, has 8192 values, and names of 256 bytes at most;
// half a surrogate pair is refused. A body has at most [MaxBody] bytes.
//
// The line of a reply ends with a newline. Its first member is ok. After a reply
// that is not ok comes the code, one of those below, and a message for people.
// Where bytes follow, MemberBody is how many. A guest ignores members that it
// does not know. Equal replies have equal bytes.
//
// What a turn has no right to is answered as through WASI: a read or a listing
// that is not granted with [CodeNotFound]; what is forbidden, and a write or a
// command that is not granted, is a violation, which has no reply: the instance
// ends. Reaching a limit of the turn ends it, too.
//
// # Through memory
//
// [Module] has two functions. call(req, req_len, out, out_cap) performs the
// message at req, of which the body is what follows the first newline; MemberBody
// may be left out, and if it is there it must be right. The result n ≥ 0 is the
// length of the reply, and its first min(n, out_cap) bytes are at out. A negative
// result is one of [ResultMalformed], [ResultBadPointer], [ResultLimit] and
// [ResultUnknownOp]: then nothing happened. Both ranges must lie in memory, empty
// ones too, and may overlap.
//
// more(off, out, out_cap) copies the reply to the last call once more, from off
// on, and returns n again. Where off is n or beyond, nothing is copied. It has no
// effect and leaves no entry. After a call with a negative result, and before the
// first one, n is 0.
//
// # Through the device file
//
// [DevicePath] is a character device. Each descriptor of it is a conversation of
// its own: a request is written, in as many pieces as its writer likes, its reply
// is read, the next request is written. The line ends with a newline, and
// MemberBody says how many bytes follow; without it, none do. A request is
// performed when its last byte is there, whether or not its reply is read. A
// reply ends where the file does: reading what comes after it, or before any
// request, reads no bytes.
//
// What the functions answer with a negative result has a reply here that is not
// ok, with [CodeMalformed], [CodeLimit] or [CodeUnsupported], given when the body
// has been written. After a line that is no JSON, that is too long, or whose
// MemberBody is wrong, nobody knows where the next request begins: what is
// written then is thrown away until the reply was read, and fails with EIO after
// that.
//
// The conversation is over when more is written before a reply was read to its
// end, or when a read comes in the middle of a request, which is dropped: reading
// and writing fail with EIO. Closing drops half a request, too. What was performed
// stands.
//
// The descriptor has no offset: seeking to 0 in any way succeeds, seeking
// elsewhere, truncating, and reading or writing at an offset fail. How it was
// opened does not matter, except that O_EXCL fails.
//
// # Operations
//
// Paths are slash paths, relative to the workspace or absolute in the guest's
// view; .. above the top does not exist. Members in brackets may be left out.
//
//	request                                → request: the turn's header ([Request])
//	result  BODY                           → the body is the result of the turn
//	read    path [offset] [length]         → size, body: so much of the file; size is of all of it
//	write   path [append] BODY             → size; append is true or false
//	list    path [after]                   → entries: [{name, kind}…], more
//	exec    argv [cwd] [timeout_ms] [stdout_to] BODY → exit, stdout_bytes, stderr_bytes, truncated, body
//	log     message [level] [fields]       → fields is an object
//	check   operation subject              → allowed, decision, grant or rule
//	hash    path                           → sha256, size
//	hash    BODY                           → sha256, size
//	info                                   → abi, minor, ops, limits, rights
//
// result wins over what is on standard output, which is then shown to nobody. It
// may be given again: the last one counts. It is published with the turn, or not
// at all. More than the limit result_bytes ends the turn.
//
// read gives at most length bytes, MaxBody where it is left out; more than
// MaxBody is [ResultLimit]. Beyond the end of the file it gives none. write makes
// the file anew, or writes after what it holds, and makes it if it is not there.
//
// list gives names in the order of their bytes, with a kind, [KindFile],
// [KindFolder] or [KindDevice]. Where there are too many for one reply, more is
// true: ask again for those after the last.
//
// exec runs a command and waits for its end: see Commands.
//
// log writes "LEVEL: MESSAGE FIELDS" and a newline to standard error, and counts
// there. Level is debug, info, warn or error; info where it is left out.
//
// check tells how read, write (making a file or writing it anew) or execute would
// be judged: subject is a path, or for execute the words of a command. Whether
// the file is there is not told. It ends no turn. hash of a path is the digest of
// the whole file, as "sha256:" and 64 hex digits.
//
// What is left out in info's rights is said at [Rights].
//
// # Commands
//
// argv is the words of a command, each a text without NUL; no shell reads them. A
// rule of execute permits all of them or none. The first is the bare name of a
// program, which the host looks up in folders of its operator's choice, or
// pkg:PATH, a file of the package. The body is its standard input, empty where
// there is none. Its environment is the host's.
//
// It runs behind a fence of the operating system, which shows it what the turn may
// read and lets it write [OutDir] and [TmpDir]; what it writes is judged and
// published as if the guest had. It reaches no network, and nothing of it is left
// when the reply is given. cwd is where it runs: the workspace where it is left
// out, else [PackageDir], or a folder that the rule names. A word pkg:PATH of argv
// is that file where the command sees it.
//
// In the full fence the program is process 1, the first of a machine of its own: a
// signal from inside that it does not handle is lost on it, its own and SIGKILL not
// excepted, and a process whose parent has ended counts until the program waits for
// it. Where that matters, let a shell start the program and wait: as its child it is
// like any other.
//
// timeout_ms is how long it may take, in milliseconds on the wall: left out, 0 or
// more than the host allows, as long as the host allows. The turn's clock stops
// meanwhile: its time limit does not count commands, but a limit of the host
// bounds all of the turn together.
//
// The body of the reply is stdout_bytes of its standard output and stderr_bytes of
// its standard error after them. stdout_to names a file beneath [TmpDir] that is
// made anew and gets standard output instead; stdout_bytes is 0 then. exit is its
// status, or 128 and the number of the signal that ended it. Where a command writes
// more than it may, truncated is true, and what there is of its output is what
// fitted; it is ended for that with exit 137.
//
// That it ended with another status than 0 is no failure of the operation. These
// are, and nothing of its output comes with them:
//
//	not_found    there is no such program, folder or file of the package
//	unsupported  the host runs no commands, or this machine cannot put up the fence
//	timeout      it took longer than it may, and was ended
//	limit        it used more memory, processor time or disk than it may, and was ended; or it was not
//	             started, since it would see too many files, or the time of all commands is used up
//	failed       it could not be started as it was asked for
//
// A command that no rule permits is a violation.
//
// # In the ledger
//
// Each request that is performed is one op of the session's ledger, via abi,
// written before it is answered; equal probes of hidden names are counted. A
// request that is not performed leaves no entry, nor does more. Opening the
// device file is an op as any open is. A command that runs leaves two entries more,
// exec.start before anything of it happens and exec.end after it.
package abi
