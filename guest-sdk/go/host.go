package agent

// Hash returns the SHA-256 of a file as "sha256:" and 64 hex digits. The host
// reads the file, at the speed of the machine; it is judged and recorded as a
// read. The error of a file that is not there, or not granted, is
// [fs.ErrNotExist].
func Hash(path string) (string, error) {
	if err := checkPath(opHash, path); err != nil {
		return "", err
	}
	return hash(path, struct {
		Path string `json:"path"`
	}{path}, nil)
}

// HashBytes returns the SHA-256 of b as "sha256:" and 64 hex digits, computed by
// the host. A host may refuse more than 15 MiB with code limit; a file in
// [os.TempDir] can be hashed whatever its size.
func HashBytes(b []byte) (string, error) {
	if b == nil {
		b = []byte{} // a body, and no bytes in it
	}
	return hash("", nil, b)
}

func hash(subject string, args any, body []byte) (string, error) {
	var reply struct {
		head
		SHA256 string `json:"sha256"`
	}
	_, err := call(opHash, subject, args, body, &reply)
	return reply.SHA256, err
}

// An Op is what a turn can be granted.
type Op string

// What [Check] can be asked about.
const (
	Read  Op = "read"
	Write Op = "write"
)

// A Verdict is what the enforcer would say of an operation.
type Verdict struct {
	Allowed  bool   `json:"allowed"`
	Decision string `json:"decision"` // such as granted, own, package, hidden or violation
	Grant    string `json:"grant"`    // what allows it; may be empty
	Rule     string `json:"rule"`     // what does not; may be empty
}

// Check asks whether the turn may do op with the file at path. It does nothing
// else, and whatever the answer, the agent goes on.
func Check(op Op, path string) (Verdict, error) {
	if err := checkPath(opCheck, path); err != nil {
		return Verdict{}, err
	}
	return check(string(op), path, path)
}

// CheckExec asks whether the turn may run the command of these words.
func CheckExec(argv ...string) (Verdict, error) {
	if err := checkText(opCheck, argv...); err != nil {
		return Verdict{}, err
	}
	return check("execute", argv, "execute")
}

func check(operation string, subject any, named string) (Verdict, error) {
	var reply struct {
		head
		Verdict
	}
	_, err := call(opCheck, named, struct {
		Operation string `json:"operation"`
		Subject   any    `json:"subject"`
	}{operation, subject}, nil, &reply)
	return reply.Verdict, err
}

// A Host is what a host says of itself and of the turn.
type Host struct {
	ABI    int              `json:"abi"`
	Minor  int              `json:"minor"`  // counts what was added to this ABI
	Ops    []string         `json:"ops"`    // the operations it knows
	Limits map[string]int64 `json:"limits"` // of messages and of the turn: bytes, milliseconds, units of fuel, counts
	Rights Rights           `json:"rights"`
}

// Rights are those of the turn: what its package asked for and the operator did
// not take away as a whole. Single names may be hidden besides; [Check] knows.
type Rights struct {
	Read      []string   `json:"read"`      // patterns
	Write     []string   `json:"write"`     // patterns
	Execute   [][]string `json:"execute"`   // commands
	Forbidden []string   `json:"forbidden"` // patterns of names that end the turn
}

// Info asks the host what it offers and what the turn may do.
func Info() (Host, error) {
	var reply struct {
		head
		Host
	}
	_, err := call(opInfo, "", nil, nil, &reply)
	return reply.Host, err
}
