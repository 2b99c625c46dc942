#compdef agenthost
# zsh completion for agenthost: asks the program itself.
_agenthost() {
	local -a lines found
	local kind line
	lines=("${(@f)$("$words[1]" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	kind=$lines[1]
	for line in "${(@)lines[2,-1]}"; do
		found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done
	((${#found})) && _describe agenthost found
	[[ $PREFIX == --*=* ]] && compset -P '*='
	case $kind in
	files) _files ;;
	folders) _files -/ ;;
	esac
}
(( $+functions[compdef] )) && compdef _agenthost agenthost
