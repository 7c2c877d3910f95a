/*
 * The PAM module: is this connection the tailnet's, and if it is, what does the agent say?
 *
 * A connection that is not the tailnet's is PAM_IGNORE at once: no line in the log, nobody asked. Any other is let on
 * only by the agent's word. The module runs inside sshd and its children, so it keeps no state between calls, starts no
 * thread and touches neither signals nor the environment.
 *
 * Arguments: mode=enforce|observe, debug, and those of options.h.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

#include "agent_client.h"
#include "connection.h"
#include "options.h"
#include "sockets.h"
#include "text.h"

#define NOTES_MAX 4
#define EARLIER_SIZE 256
#define ADDRESS_LOG_SIZE (INET6_ADDRSTRLEN + PORT_TEXT_SIZE + 4)

enum stage { STAGE_AUTH, STAGE_SETCRED, STAGE_ACCOUNT, STAGE_OPEN, STAGE_CLOSE };

struct login {
	pam_handle_t *pamh;
	enum stage stage;
	bool silent;
	bool observe;
	bool debug;
	const char *bad_argument;
	const char *method;
	const char *user;
	int64_t started_ms;
	struct options options;
	struct connection connection;
	bool has_connection;
};

/* The lines of the agent for the person, kept until the verdict is known. */
struct notes {
	char text[NOTES_MAX][TSW_TEXT_MAX + 1];
	size_t count;
};

static void
parse_arguments(struct login *login, int argc, const char **argv)
{
	const char *mode;
	int i;

	options_begin(&login->options);
	for (i = 0; i < argc; i++) {
		mode = option_value(argv[i], "mode");
		if (mode != NULL && strcmp(mode, TSW_MODE_ENFORCE) == 0)
			login->observe = false;
		else if (mode != NULL && strcmp(mode, TSW_MODE_OBSERVE) == 0)
			login->observe = true;
		else if (strcmp(argv[i], "debug") == 0)
			login->debug = true;
		else if (mode != NULL || !options_take(&login->options, argv[i]))
			login->bad_argument = argv[i];
	}
	/* A line that cannot be read whole is not taken as the administrator's word for "only watch". */
	if (login->bad_argument != NULL)
		login->observe = false;
	options_finish(&login->options, login->bad_argument != NULL);
}

/*
 * sshd runs keyboard-interactive in a child whose environment it has emptied, and `none` in its own (auth-pam.c,
 * sshpam_thread): the one difference a module can see before it has asked anything.
 */
static const char *
method_of(enum stage stage)
{
	if (stage != STAGE_AUTH)
		return TSW_METHOD_UNKNOWN;
	return getenv("PATH") == NULL ? TSW_METHOD_KEYBOARD : TSW_METHOD_NONE;
}

static bool
at_keyboard(const struct login *login)
{
	return strcmp(login->method, TSW_METHOD_KEYBOARD) == 0;
}

/*
 * sshd puts SSH_CONNECTION, client first, into the PAM environment; PAM_RHOST may be a name. Without it, or with one that
 * cannot be read (a link-local address has a scope, a connection that is not TCP has no address), the socket tells. It
 * tells only whether the connection is the tailnet's: nobody is let in on the strength of a socket that was searched for.
 */
static enum found
find_connection(struct login *login)
{
	const char *text = pam_getenv(login->pamh, "SSH_CONNECTION");
	const struct networks *networks = &login->options.networks;

	if (text != NULL && endpoints_parse(text, &login->connection.client, &login->connection.server)) {
		login->has_connection = true;
		return networks_hold(networks, &login->connection) ? FOUND_OURS : FOUND_NOTHING;
	}
	if (text != NULL && networks_hold_word_of(networks, text))
		return FOUND_UNREADABLE;
	return sockets_look(networks) == FOUND_NOTHING ? FOUND_NOTHING : FOUND_UNREADABLE;
}

static void
format_address(const struct login *login, char out[ADDRESS_LOG_SIZE])
{
	char address[INET6_ADDRSTRLEN], port[PORT_TEXT_SIZE];

	if (!login->has_connection) {
		snprintf(out, ADDRESS_LOG_SIZE, "unknown");
		return;
	}
	endpoint_format(&login->connection.client, address, port);
	snprintf(out, ADDRESS_LOG_SIZE, strchr(address, ':') == NULL ? "%s:%s" : "[%s]:%s", address, port);
}

/* One line in the form of the agent's own, for what the agent cannot log. `detail` is for the administrator. */
static void
log_denial(const struct login *login, int priority, const char *reason, const char *detail)
{
	char user[TEXT_LOG_SIZE], quoted[TEXT_LOG_SIZE], address[ADDRESS_LOG_SIZE];

	text_for_log(login->user == NULL ? "" : login->user, user, sizeof(user));
	text_for_log(detail, quoted, sizeof(quoted));
	format_address(login, address);
	pam_syslog(login->pamh, priority, "decision=deny reason=%s user=%s addr=%s method=%s ms=%lld detail=%s", reason,
	    user, address, login->method, (long long)(monotonic_ms() - login->started_ms), quoted);
}

static void
show(const struct login *login, int style, const char *text)
{
	char clean[TSW_TEXT_MAX + 1];

	if (login->silent || *text == '\0')
		return;
	text_for_person(text, clean, sizeof(clean));
	(void)pam_prompt(login->pamh, style, NULL, "%s", clean);
}

static int
refusal_of(const struct login *login)
{
	switch (login->stage) {
	case STAGE_AUTH:
		/* PAM_MAXTRIES keeps the client from asking for a password that nobody would look at. */
		return at_keyboard(login) ? PAM_MAXTRIES : PAM_AUTH_ERR;
	case STAGE_SETCRED:
		return PAM_CRED_ERR;
	case STAGE_OPEN:
	case STAGE_CLOSE:
		return PAM_SESSION_ERR;
	default:
		return PAM_PERM_DENIED;
	}
}

/*
 * At `none` sshd would keep the text and show it after a later method had succeeded. In the account and session phases
 * a refusal ends the connection, so a text is shown now or never.
 */
static int
refuse(const struct login *login, const char *text)
{
	if (login->observe)
		return PAM_IGNORE;
	if (login->stage == STAGE_ACCOUNT || login->stage == STAGE_OPEN || at_keyboard(login))
		show(login, PAM_ERROR_MSG, text);
	return refusal_of(login);
}

static int
refuse_here(const struct login *login, const char *reason, const char *detail)
{
	log_denial(login, LOG_WARNING, reason, detail);
	return refuse(login, TSW_TEXT_TRY_AGAIN);
}

static void
keep_note(const char *text, void *context)
{
	struct notes *notes = context;
	size_t length = strnlen(text, TSW_TEXT_MAX);

	if (notes->count == NOTES_MAX)
		return;
	memcpy(notes->text[notes->count], text, length);
	notes->text[notes->count++][length] = '\0';
}

static void
show_notes(const struct login *login, const struct notes *notes)
{
	size_t i;

	for (i = 0; i < notes->count; i++)
		show(login, PAM_TEXT_INFO, notes->text[i]);
}

static const char *
phase_of(enum stage stage)
{
	switch (stage) {
	case STAGE_AUTH:
		return TSW_PHASE_AUTH;
	case STAGE_OPEN:
		return TSW_PHASE_SESSION;
	default:
		return TSW_PHASE_ACCOUNT;
	}
}

static int
refuse_without_verdict(const struct login *login, int error)
{
	const char *what = strerrordesc_np(-error);
	const char *socket = login->options.agent.socket;
	char detail[256];

	snprintf(detail, sizeof(detail), "%s: %s; see: systemctl status pam-tailscale-agent", socket,
	    error == -EPERM ? "its owner is neither root nor agent_uid" : what == NULL ? "unknown error" : what);
	log_denial(login, LOG_ERR,
	    error == -EBADMSG || error == -EMSGSIZE ? "agent_answer_damaged" : "agent_unreachable", detail);
	return refuse(login, TSW_TEXT_TRY_AGAIN);
}

/*
 * sshd tells which methods have succeeded before the last one, a line for each, its details behind a space or a slash
 * (auth2.c, auth2_update_session_info). More than fit are not a login we understand: the last name is then "unknown".
 */
static void
name_earlier_methods(const char *info, char out[EARLIER_SIZE])
{
	const size_t limit = EARLIER_SIZE - sizeof(",unknown");
	size_t used = 0, length;

	for (; *info != '\0'; info += strcspn(info, "\n"), info += *info == '\n') {
		length = strcspn(info, " /\n");
		if (length == 0)
			continue;
		if (used + length + 1 > limit) {
			info = "";
			used += (size_t)snprintf(out + used, EARLIER_SIZE - used, "%sunknown", used == 0 ? "" : ",");
			continue;
		}
		if (used > 0)
			out[used++] = ',';
		memcpy(out + used, info, length);
		used += length;
	}
	out[used] = '\0';
}

static void
add_earlier_methods(const struct login *login, struct agent_request *request)
{
	const char *info = pam_getenv(login->pamh, "SSH_AUTH_INFO_0");
	char earlier[EARLIER_SIZE];

	if (login->stage != STAGE_ACCOUNT || info == NULL)
		return;
	name_earlier_methods(info, earlier);
	if (earlier[0] != '\0')
		agent_request_add(request, TSW_KEY_EARLIER, earlier);
}

static void
add_interface(const struct login *login, struct agent_request *request)
{
	char index[sizeof("4294967295")];

	snprintf(index, sizeof(index), "%u", sockets_interface(&login->connection));
	agent_request_add(request, TSW_KEY_INTERFACE, index);
}

static int
ask(const struct login *login)
{
	struct agent_request request;
	struct agent_verdict verdict;
	struct notes notes = { .count = 0 };
	int r;

	decide_request(&request, login->user, &login->connection, login->method, phase_of(login->stage),
	    login->observe ? TSW_MODE_OBSERVE : TSW_MODE_ENFORCE);
	add_interface(login, &request);
	add_earlier_methods(login, &request);
	r = agent_ask(&login->options.agent, &request, keep_note, &notes, &verdict);
	if (r < 0)
		return refuse_without_verdict(login, r);
	if (login->debug) {
		char id[TEXT_LOG_SIZE];

		text_for_log(verdict.id, id, sizeof(id));
		pam_syslog(login->pamh, LOG_DEBUG, "decision=%s id=%s phase=%s method=%s ms=%lld",
		    verdict.allow ? TSW_VERDICT_ALLOW : TSW_VERDICT_DENY, id, phase_of(login->stage), login->method,
		    (long long)(monotonic_ms() - login->started_ms));
	}
	if (!verdict.allow)
		return refuse(login, verdict.text[0] == '\0' ? TSW_TEXT_TRY_AGAIN : verdict.text);
	if (login->observe)
		return PAM_IGNORE;
	if (login->stage == STAGE_AUTH)
		show_notes(login, &notes);
	return PAM_SUCCESS;
}

/* pam_get_user() would ask for a name that is missing, and set it. */
static bool
find_user(struct login *login)
{
	const void *item = NULL;

	if (pam_get_item(login->pamh, PAM_USER, &item) != PAM_SUCCESS || item == NULL)
		return false;
	login->user = item;
	return login->user[0] != '\0' && strlen(login->user) <= TSW_USER_MAX;
}

static int
answer_ours(struct login *login)
{
	if (login->bad_argument != NULL)
		return refuse_here(login, "bad_argument", login->bad_argument);
	if (login->stage == STAGE_SETCRED || login->stage == STAGE_CLOSE)
		return PAM_SUCCESS;
	/* sshd leaves Nagle's algorithm on until a session is interactive, which costs each login 40 ms. */
	if (!login->observe && login->stage != STAGE_OPEN)
		sockets_set_nodelay(&login->connection);
	return ask(login);
}

static int
answer(pam_handle_t *pamh, enum stage stage, int flags, int argc, const char **argv)
{
	struct login login = { .pamh = pamh, .stage = stage, .started_ms = monotonic_ms() };
	enum found found;
	bool has_user;

	login.silent = ((unsigned int)flags & PAM_SILENT) != 0;
	login.method = method_of(stage);
	parse_arguments(&login, argc, argv);
	if (login.observe && stage != STAGE_OPEN)
		return PAM_IGNORE;
	found = find_connection(&login);
	if (found == FOUND_NOTHING)
		return PAM_IGNORE;
	has_user = find_user(&login);
	if (found == FOUND_UNREADABLE)
		return refuse_here(&login, "connection_unreadable", "SSH_CONNECTION is missing or malformed");
	if (!has_user)
		return refuse_here(&login, "bad_user", "the account name is missing, empty or too long");
	return answer_ours(&login);
}

/* What sshd does next may depend on errno, and a module that ignores a connection must leave no trace of itself. */
static int
answer_and_keep_errno(pam_handle_t *pamh, enum stage stage, int flags, int argc, const char **argv)
{
	int saved = errno;
	int code = answer(pamh, stage, flags, argc, argv);

	errno = saved;
	return code;
}

int
pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return answer_and_keep_errno(pamh, STAGE_AUTH, flags, argc, argv);
}

int
pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return answer_and_keep_errno(pamh, STAGE_SETCRED, flags, argc, argv);
}

int
pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return answer_and_keep_errno(pamh, STAGE_ACCOUNT, flags, argc, argv);
}

int
pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return answer_and_keep_errno(pamh, STAGE_OPEN, flags, argc, argv);
}

int
pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return answer_and_keep_errno(pamh, STAGE_CLOSE, flags, argc, argv);
}
