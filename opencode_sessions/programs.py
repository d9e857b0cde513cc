"""What programs do to files, known by their names: which only read, and which git commands do.

What is not named here may change anything.
"""

import re

# Commands that change no file; an argument that begins as in the second list makes them do so.
READS = {
    *(":", "[", "[[", "]]", "alias", "awk", "basename", "cat", "chmod", "chown", "cksum"),
    *("cmp", "column", "comm", "curl", "cut", "date", "df", "diff", "dirname", "du", "echo"),
    *("egrep", "exit", "export", "false", "fgrep", "file", "find", "fold", "free", "grep", "head"),
    *("history", "hostname", "id", "jq", "less", "ls", "md5sum", "more", "nl", "od"),
    *("paste", "printf", "ps", "pwd", "read", "readlink", "realpath", "return", "rg", "rmdir"),
    *("seq", "set", "sha1sum", "sha256sum", "shasum", "sleep", "sort", "stat", "strings"),
    *("tac", "tail", "test", "tr", "tree", "true", "type", "uname", "uniq", "unset"),
    *("wait", "wc", "wget", "which", "whoami", "xxd", "yes"),
}
WRITING_OPTIONS = {
    name: re.compile(pattern, re.DOTALL)
    for name, pattern in {
        "find": "-(delete|exec|ok|fprint|fls)",
        "sort": "-[bcdfghimnrsuzCMRV]*o|--o",
        "curl": "-[afgijklnpqsvBGILMNRSV#]*[oOJcD]|--(output|remote-|cookie-jar|dump-header)",
        "tree": "-o",
        "less": "-[a-zA-Z]*[oO]|--(log-file|LOG-FILE)",
        "history": "-w",
        "awk": r"-i|.*\b(printf?\b[^;}]{0,200}[>|]|system\s*\()",  # the program itself may write
        "wget": "",
        "xxd": "-r",
        "uniq": "",
    }.items()
}
GIT_READS = {
    *("add", "blame", "branch", "cat-file", "commit", "config", "describe", "diff", "fetch"),
    *("for-each-ref", "grep", "init", "log", "ls-files", "ls-remote", "ls-tree", "notes", "push"),
    *("reflog", "remote", "rev-list", "rev-parse", "shortlog", "show", "show-ref", "status"),
    *("tag", "var", "version", "whatchanged"),
}
GIT_BRINGS = {
    *("am", "bisect", "checkout", "checkout-index", "cherry-pick", "clone", "merge", "pull"),
    *("read-tree", "rebase", "reset", "restore", "revert", "stash", "submodule", "switch"),
    *("worktree",),
}
