package audit

import "sync"

// Codes of findings: what is wrong, as programs tell them apart.
const (
	// The root itself.

	CodeFormat      = "format"            // FORMAT is missing
	CodePermissions = "loose_permissions" // open to others who must not read or write it
	CodeOwner       = "foreign_owner"     // it belongs to another user
	CodeKind        = "wrong_kind"        // a link, a FIFO, a folder in the place of something else
	CodeOrphan      = "orphan"            // a file nobody accounts for
	CodeLeftover    = "leftover"          // what a crash left and the next command removes or nobody needs
	CodeUnreadable  = "unreadable"        // it cannot be looked at
	CodeCase        = "case_variant"      // a name of agenthost's own in another spelling
	CodeHostUnknown = "host_unknown"      // a ledger that a host sealed who is not trusted here

	// The control plane.

	CodeGovernanceMissing = "governance_missing"
	CodeGovernanceBroken  = "governance_broken"
	CodeTokenMissing      = "token_missing"
	CodeTokenChanged      = "token_changed"
	CodeTrustedKeys       = "trusted_keys_changed"
	CodePolicy            = "policy_invalid"
	CodeUnfinishedChange  = "unfinished_change"
	CodeRegistryMissing   = "registry_missing"
	CodeRegistryChanged   = "registry_changed"

	// Packages.

	CodeArchiveMissing    = "archive_missing"
	CodeArchiveChanged    = "archive_changed"
	CodePackageMissing    = "package_missing"
	CodePackageChanged    = "package_changed" // as a whole: no single file can be named
	CodeFileMissing       = "package_file_missing"
	CodeFileChanged       = "package_file_changed"
	CodeFileExtra         = "package_file_extra"
	CodeHardLink          = "hard_link"
	CodeDependencyMissing = "dependency_missing"
	CodeDependencyRange   = "dependency_range"
	CodeDependencyCycle   = "dependency_cycle"
	CodeSignatureMissing  = "signature_missing"
	CodeSignatureInvalid  = "signature_invalid"
	CodeSignerUntrusted   = "signer_untrusted"

	// Sessions.

	CodeSessionIncomplete = "session_incomplete" // it has not both ledgers
	CodeSessionMisplaced  = "session_misplaced"  // it lies under another's name or in another plane
	CodeLedgerBroken      = "ledger_broken"
	CodeRegisterBroken    = "register_broken"
	CodeSessionDeleted    = "session_deleted"      // the register has entries of it
	CodeSessionRolledBack = "session_rolled_back"  // the register has more of it
	CodeSessionDiverged   = "session_diverged"     // the register has something else of it
	CodeUnregistered      = "session_unregistered" // it has turns, and the register does not know it
	CodeTorn              = "torn_ledger"
	CodeUnfinishedTurn    = "unfinished_turn"
	CodeUnfinishedCommit  = "unfinished_commit"
	CodeUnfinishedPrune   = "unfinished_prune"
	CodeBlobWritable      = "blob_writable"

	// Work orders, and snapshots of contexts.

	CodeWorkOrderInvalid = "work_order_invalid"
	CodeUnclaimedTurn    = "unclaimed_turn"
	CodeSnapshotMissing  = "snapshot_missing"
	CodeSnapshotChanged  = "snapshot_changed"
	CodeSnapshotForged   = "snapshot_forged"

	// Published files.

	CodePublishedMissing  = "published_missing"
	CodePublishedChanged  = "published_changed"
	CodePublishedReplaced = "published_replaced" // by what is no file
	CodeOutputUnexplained = "output_unexplained"
)

// Areas, in the order in which findings are listed.
const (
	areaRoot = iota
	areaControl
	areaPackages
	areaSessions
	areaOrders
	areaPublished
)

// Area is what findings of a code are about, as a heading for people.
func Area(code string) string {
	return []string{"root", "control plane", "packages", "sessions", "work orders and contexts", "published files"}[kinds()[code].area]
}

// kind is what all findings of a code have in common.
type kind struct {
	area     int
	severity string
	remedy   string
}

const (
	remedyLook    = "look at what it holds and who put it there, then remove it"
	remedyNextRun = "the next agenthost run in this root finishes it"
	remedyRebuild = "agenthost control rebuild-registry writes it anew from the ledger"
	remedyInstall = "agenthost package install writes it anew; find out who changed it"
	remedyBackup  = "take it from a backup; find out who changed it"
	remedyKeep    = "keep it as it is and find out who changed it: what it says from there on is worth nothing"
	remedyRepair  = "take the one that went on from a backup, the session or the register; else agenthost ledger repair SESSION says what would be lost"
	remedyOutput  = "nothing if you meant it; else take it from a backup: the record has its digest, not its content"
)

// kinds returns all codes. The table is made when it is asked for first, and not
// at each start of the program.
var kinds = sync.OnceValue(func() map[string]kind {
	return map[string]kind{
		CodeFormat:      {areaRoot, Warning, "the next agenthost run makes it"},
		CodePermissions: {areaRoot, Error, "take the right away with chmod"},
		CodeOwner:       {areaRoot, Error, "give it back with chown, after looking at what it holds"},
		CodeKind:        {areaRoot, Error, "find out who put it there; remove it, and take what belongs there from a backup"},
		CodeOrphan:      {areaRoot, Error, remedyLook},
		CodeLeftover:    {areaRoot, Warning, "remove it: nothing depends on it"},
		CodeUnreadable:  {areaRoot, Error, "make it readable for the user who runs agenthost, and check again"},
		CodeCase:        {areaRoot, Warning, "rename it: on a filesystem that does not tell case apart it would be agenthost's own"},
		CodeHostUnknown: {areaRoot, Error, "if you know whose it is, and that the ledger came from there: agenthost ledger trust KEY; else keep it as it is: anybody can have written it"},

		CodeGovernanceMissing: {areaControl, Error, remedyBackup},
		CodeGovernanceBroken:  {areaControl, Error, remedyKeep},
		CodeTokenMissing:      {areaControl, Error, remedyBackup},
		CodeTokenChanged:      {areaControl, Error, remedyBackup},
		CodeTrustedKeys:       {areaControl, Error, remedyRebuild},
		CodePolicy:            {areaControl, Error, "correct it; agenthost policy show says what is wrong"},
		CodeUnfinishedChange:  {areaControl, Warning, "the next change of the control plane finishes it or takes it back"},
		CodeRegistryMissing:   {areaControl, Error, remedyRebuild},
		CodeRegistryChanged:   {areaControl, Error, remedyRebuild},

		CodeArchiveMissing:    {areaPackages, Error, "take it from a backup, or install the package anew"},
		CodeArchiveChanged:    {areaPackages, Error, "take it from a backup, or install the package anew; find out who changed it"},
		CodePackageMissing:    {areaPackages, Error, remedyInstall},
		CodePackageChanged:    {areaPackages, Error, remedyInstall},
		CodeFileMissing:       {areaPackages, Error, remedyInstall},
		CodeFileChanged:       {areaPackages, Error, remedyInstall},
		CodeFileExtra:         {areaPackages, Error, remedyLook},
		CodeHardLink:          {areaPackages, Error, "find the other name of the file, which can change it; install the package anew"},
		CodeDependencyMissing: {areaPackages, Error, "install what is missing"},
		CodeDependencyRange:   {areaPackages, Error, "install a version that is in the range"},
		CodeDependencyCycle:   {areaPackages, Error, "install versions that do not depend on each other"},
		CodeSignatureMissing:  {areaPackages, Error, "install it signed, or have the policy not require it"},
		CodeSignatureInvalid:  {areaPackages, Error, "install the package anew with its signature"},
		CodeSignerUntrusted:   {areaPackages, Warning, "trust the key again, or install the package signed by another"},

		CodeSessionIncomplete: {areaSessions, Error, "take it from a backup: without both ledgers a session proves nothing"},
		CodeSessionMisplaced:  {areaSessions, Error, "put it back under its own name"},
		CodeLedgerBroken:      {areaSessions, Error, remedyKeep},
		CodeRegisterBroken:    {areaSessions, Error, "find out who changed it, and take it from a backup; else agenthost ledger repair --register PLANE says what would be lost"},
		CodeSessionDeleted:    {areaSessions, Error, "take it from a backup; else agenthost ledger repair SESSION says what would be lost"},
		CodeSessionRolledBack: {areaSessions, Error, remedyRepair},
		CodeSessionDiverged:   {areaSessions, Error, remedyRepair},
		CodeUnregistered:      {areaSessions, Error, remedyRepair},
		CodeTorn:              {areaSessions, Warning, "the next command that writes to it sets the debris aside"},
		CodeUnfinishedTurn:    {areaSessions, Warning, remedyNextRun},
		CodeUnfinishedCommit:  {areaSessions, Error, remedyNextRun},
		CodeUnfinishedPrune:   {areaSessions, Warning, "agenthost session prune finishes it, with an --older-than or a --keep that takes it in"},
		CodeBlobWritable:      {areaSessions, Warning, "chmod 0400: what is kept there is never written again"},

		CodeWorkOrderInvalid: {areaOrders, Error, "correct it; agenthost schema work_order describes it"},
		CodeUnclaimedTurn:    {areaOrders, Error, "find out who took it away: without it more turns can run than were granted"},
		CodeSnapshotMissing:  {areaOrders, Warning, "nothing: agenthost context rebuilds it from the record"},
		CodeSnapshotChanged:  {areaOrders, Warning, "remove it: agenthost context rebuilds it from the record"},
		CodeSnapshotForged:   {areaOrders, Error, "find out who wrote it, and remove it with planes/ho2/context: agenthost context rebuilds all of it"},

		CodePublishedMissing:  {areaPublished, Warning, remedyOutput},
		CodePublishedChanged:  {areaPublished, Warning, remedyOutput},
		CodePublishedReplaced: {areaPublished, Warning, remedyOutput},
		CodeOutputUnexplained: {areaPublished, Warning, "nothing, if its session was pruned: this root keeps no record of that; else look at it and remove it"},
	}
})
