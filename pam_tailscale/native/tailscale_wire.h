/*
 * The protocol between the shims (PAM module, key helper), the command line and the agent.
 *
 * This header is the specification. C includes it; the Python tests read it with cffi and hold pam_tailscale/wire.py
 * against it, so that the two cannot drift. It declares nothing but numbers and words.
 *
 * TRANSPORT. A Unix SOCK_SEQPACKET socket, by default TSW_SOCKET. Its directory belongs to root. One connection carries
 * one request and what belongs to it, and the kernel keeps the message boundaries. The client checks with SO_PEERCRED that
 * the other end is root or the uid it was told; the agent learns with it who asks and which process that is.
 *
 * MESSAGE. A sequence of NUL-terminated strings, key, value, key, value, at most TSW_MESSAGE_MAX bytes in all. The first
 * pair is TSW_KEY_VERSION with TSW_VERSION in decimal. A value is any bytes but NUL. A message is refused, and the
 * connection closed, when it is empty or too long, when the final NUL is missing, when the number of strings is odd, when a
 * key is empty or stands twice, or when the first pair is not this version. Unknown keys are ignored.
 *
 * REQUEST. TSW_KEY_REQUEST says what is asked:
 *   TSW_REQUEST_DECIDE   may this connection go on? With TSW_KEY_USER, the connection (four keys, as numeric addresses and
 *                        decimal ports), TSW_KEY_METHOD, TSW_KEY_PHASE, TSW_KEY_MODE. Only root and the key helper may ask.
 *                        TSW_KEY_INTERFACE is the index of the network interface the connection came in by, 0 where that
 *                        cannot be said, which refuses; only the key helper, which has no socket, leaves it out.
 *                        In the account phase TSW_KEY_EARLIER names the methods, separated by commas, that sshd has counted
 *                        before the last one (AuthenticationMethods with several), and is left out where there are none.
 *                        TSW_KEY_OFFERED is a public key in base64, of at most TSW_OFFERED_MAX bytes: from the key helper the
 *                        one that is offered, in the session phase the one that sshd let in; left out where there is none.
 *   TSW_REQUEST_STATUS, TSW_REQUEST_WHOIS, TSW_REQUEST_EXPLAIN, TSW_REQUEST_CHECKS, TSW_REQUEST_FORGET   the command line;
 *                        see pam_tailscale/agent/handlers.py.
 *   TSW_REQUEST_CONTINUE   no question of its own: the person has answered the prompt, see below. It says nothing else.
 *
 * ANSWER. Any number of messages whose TSW_KEY_ANSWER is TSW_ANSWER_INFO or, where it may stand, TSW_ANSWER_PROMPT, then
 * exactly one TSW_ANSWER_VERDICT, then the agent closes. EOF before the verdict is an answer too: the connection is
 * refused. So is a message that is damaged, an answer that is not one of these or stands where it may not, and a verdict
 * that is not exactly TSW_VERDICT_ALLOW (to the key helper also TSW_VERDICT_LIMITED). There is no verdict that means "not
 * mine": whether a connection is a tailnet connection is decided by the shim alone, never by the agent.
 *   info      TSW_KEY_TEXT: for `decide` a line for the person who logs in; for the command line a piece of a JSON document.
 *   prompt    TSW_KEY_TEXT, at most TSW_PROMPT_MAX bytes of it: shown to the person, who presses Enter when they have done
 *             what it says. Only in answer to `decide` with TSW_METHOD_KEYBOARD and TSW_PHASE_AUTH, and at most
 *             TSW_PROMPTS_MAX times.
 *   verdict   TSW_KEY_VERDICT, and TSW_KEY_ID, the decision's id in the journal. TSW_KEY_TEXT: on a denial why, in words
 *             meant for the person who logs in. With TSW_VERDICT_LIMITED, and only there, TSW_KEY_OPTIONS.
 *
 * VERDICT. TSW_VERDICT_ALLOW lets in, and nothing else does. TSW_VERDICT_DENY is a no. So is TSW_VERDICT_CHECK, with this
 * to it: the person would be let in once they have passed a check, which another method of the same connection offers.
 * Where TSW_METHOD_NONE was asked for, in the auth phase, the PAM module answers PAM_TRY_AGAIN then, so that sshd may go
 * on to keyboard-interactive; everywhere else TSW_VERDICT_CHECK is TSW_VERDICT_DENY and no more.
 *
 * TSW_VERDICT_LIMITED lets in by the offered key behind the options in TSW_KEY_OPTIONS, which sshd then enforces. It is said
 * to TSW_METHOD_PUBLICKEY in the auth phase alone; whoever else hears it takes it for TSW_VERDICT_DENY. It is a word of its
 * own, so that a helper which does not know it refuses, instead of reading past the options and printing the key alone.
 * The options, at most TSW_OPTIONS_MAX bytes, are of this form and no other; anything else is a damaged answer:
 *   restrict[,agent-forwarding][,port-forwarding][,permitopen="255.255.255.255:1"][,pty][,command="COMMAND"]
 * COMMAND is at least one printable character of ASCII (0x20 to 0x7e). A quote in it has a backslash in front, and no
 * backslash stands in front of the closing quote. So nothing in it ends the option, or the line.
 *
 * PROMPT. The agent sends a prompt and then waits for TSW_REQUEST_CONTINUE on the same connection, or for EOF: the module
 * is gone, and so is the person. What the person has typed is wiped where it arrived; it is never sent. After that the
 * agent has the word again, for the next prompt or the verdict.
 *
 * TIME. Each stretch in which the agent has the word has one absolute deadline, which no message puts off. For the first,
 * connecting included, it is by default TSW_TIMEOUT_MS; after each TSW_REQUEST_CONTINUE it is TSW_WAIT_MS. In between
 * the person has the word, for as long as sshd lets them (LoginGraceTime). After TSW_REQUEST_CONTINUE the module also
 * watches the person's own connection, as far as it can find its socket: once that hangs up it leaves the agent and
 * refuses, so that nothing is held for a client that has gone.
 */
#ifndef TAILSCALE_WIRE_H
#define TAILSCALE_WIRE_H

#define TSW_VERSION 1
#define TSW_MESSAGE_MAX 8192
#define TSW_TIMEOUT_MS 10000
#define TSW_WAIT_MS 30000 /* the agent itself waits for about 20 s before it asks the person again */
#define TSW_USER_MAX 255 /* bytes of an account name; sshd itself takes more, the agent never knows one that long */
#define TSW_TEXT_MAX 1024 /* bytes of a text for the person; longer ones are cut by whoever shows them */
#define TSW_PROMPT_MAX 6144 /* bytes of a prompt, which may hold a QR code; the same */
#define TSW_OPTIONS_MAX 4096 /* bytes of a key's options */
#define TSW_OFFERED_MAX 4096 /* bytes of a key in base64; one of RSA with 16384 bits, sshd's longest, has 2752 */
#define TSW_PROMPTS_MAX 64 /* more prompts than a person answers before sshd's LoginGraceTime is over */

/* What a person reads when it is not the policy that refuses; the agent's own denials of that kind begin with it. */
#define TSW_TEXT_TRY_AGAIN "tailscale: this host cannot ask the tailnet's policy at the moment, try again later"

#define TSW_SOCKET "/run/pam-tailscale/agent.sock"

#define TSW_KEY_VERSION "version"
#define TSW_KEY_REQUEST "request"
#define TSW_KEY_USER "user"
#define TSW_KEY_CLIENT "client"
#define TSW_KEY_CLIENT_PORT "client_port"
#define TSW_KEY_SERVER "server"
#define TSW_KEY_SERVER_PORT "server_port"
#define TSW_KEY_METHOD "method"
#define TSW_KEY_PHASE "phase"
#define TSW_KEY_MODE "mode"
#define TSW_KEY_INTERFACE "interface"
#define TSW_KEY_EARLIER "earlier"
#define TSW_KEY_OFFERED "offered"
#define TSW_KEY_AS_OF "as_of"
#define TSW_KEY_PERSON "person"
#define TSW_KEY_ANSWER "answer"
#define TSW_KEY_TEXT "text"
#define TSW_KEY_VERDICT "verdict"
#define TSW_KEY_ID "id"
#define TSW_KEY_OPTIONS "options"

#define TSW_REQUEST_DECIDE "decide"
#define TSW_REQUEST_STATUS "status"
#define TSW_REQUEST_WHOIS "whois"
#define TSW_REQUEST_EXPLAIN "explain"
#define TSW_REQUEST_CHECKS "checks"
#define TSW_REQUEST_FORGET "forget"
#define TSW_REQUEST_CONTINUE "continue"

/* What sshd is doing. The account and session phases do not know the method. */
#define TSW_METHOD_NONE "none"
#define TSW_METHOD_KEYBOARD "keyboard-interactive"
#define TSW_METHOD_PUBLICKEY "publickey"
#define TSW_METHOD_UNKNOWN "unknown"

#define TSW_PHASE_AUTH "auth"
#define TSW_PHASE_ACCOUNT "account"
#define TSW_PHASE_SESSION "session"

/* enforce: the answer decides. observe: it is only logged; the module lets PAM go on as if it were not there. */
#define TSW_MODE_ENFORCE "enforce"
#define TSW_MODE_OBSERVE "observe"

#define TSW_ANSWER_INFO "info"
#define TSW_ANSWER_PROMPT "prompt"
#define TSW_ANSWER_VERDICT "verdict"

#define TSW_VERDICT_ALLOW "allow"
#define TSW_VERDICT_DENY "deny"
#define TSW_VERDICT_CHECK "check"
#define TSW_VERDICT_LIMITED "limited"

#endif
