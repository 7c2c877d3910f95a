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
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

#include "agent_client.h"
#include "connection.h"
#include "log.h"
#include "login.h"
#include "methods.h"
#include "options.h"
#include "person.h"
#include "sockets.h"

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

/*
 * At `none` sshd would keep the text and show it after a later method had succeeded. In the account and session phases
 * a refusal ends the connection, so a text is shown now or never.
 */
static int
refuse(const struct login *login, const char *text, bool check)
{
	if (login->observe)
		return PAM_IGNORE;
	if (login->stage == STAGE_ACCOUNT || login->stage == STAGE_OPEN || login_at_keyboard(login))
		person_show(login, PAM_ERROR_MSG, text);
	return login_refusal(login, check);
}

static int
refuse_here(const struct login *login, const char *reason, const char *detail)
{
	log_denial(login, LOG_WARNING, reason, detail);
	return refuse(login, TSW_TEXT_TRY_AGAIN, false);
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
	return refuse(login, TSW_TEXT_TRY_AGAIN, false);
}

/* An ordinary end of a prompt, and nobody is left to read a text. */
static int
refuse_the_absent(const struct login *login)
{
	log_denial(login, LOG_INFO, "client_gone", "the prompt was not answered, or the connection was closed after it");
	return login_refusal(login, false);
}

static int
refuse_by_verdict(const struct login *login, const struct agent_verdict *verdict)
{
	return refuse(login, verdict->text[0] == '\0' ? TSW_TEXT_TRY_AGAIN : verdict->text, verdict->check);
}

static void
add_earlier_methods(const struct login *login, struct agent_request *request)
{
	const char *info = pam_getenv(login->pamh, "SSH_AUTH_INFO_0");
	char earlier[EARLIER_SIZE];

	if (login->stage != STAGE_ACCOUNT || info == NULL)
		return;
	methods_name_earlier(info, earlier);
	if (earlier[0] != '\0')
		agent_request_add(request, TSW_KEY_EARLIER, earlier);
}

/* The agent knows which key it has answered with limits: sshd may have taken another one, from elsewhere. */
static void
add_used_key(const struct login *login, struct agent_request *request)
{
	const char *info = pam_getenv(login->pamh, "SSH_AUTH_INFO_0");
	char key[TSW_OFFERED_MAX + 1];

	if (login->stage != STAGE_OPEN || info == NULL)
		return;
	methods_last_key(info, key);
	if (key[0] != '\0')
		agent_request_add(request, TSW_KEY_OFFERED, key);
}

static void
add_interface(int socket, struct agent_request *request)
{
	char index[sizeof("4294967295")];

	snprintf(index, sizeof(index), "%u", sockets_interface(socket));
	agent_request_add(request, TSW_KEY_INTERFACE, index);
}

/* `socket` is that of the connection, -1 where it was not found. */
static int
ask(const struct login *login, int socket)
{
	struct agent_request request;
	struct agent_verdict verdict;
	struct person person;
	struct agent_listener listener = { .info = person_keep_note, .context = &person, .person_fd = socket };
	int r;

	if (login_at_keyboard(login))
		listener.prompt = person_prompt;
	person_begin(&person, login);
	decide_request(&request, login->user, &login->connection, login->method, login_phase(login),
	    login->observe ? TSW_MODE_OBSERVE : TSW_MODE_ENFORCE);
	add_interface(socket, &request);
	add_earlier_methods(login, &request);
	add_used_key(login, &request);
	r = agent_ask(&login->options.agent, &request, &listener, &verdict);
	if (r == -ECANCELED)
		return refuse_the_absent(login);
	if (r < 0)
		return refuse_without_verdict(login, r);
	log_verdict(login, &verdict);
	if (!verdict.allow)
		return refuse_by_verdict(login, &verdict);
	if (login->observe)
		return PAM_IGNORE;
	if (login->stage == STAGE_AUTH)
		person_show_notes(&person);
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
answer_ours(const struct login *login)
{
	int socket;

	if (login->bad_argument != NULL)
		return refuse_here(login, "bad_argument", login->bad_argument);
	if (login->stage == STAGE_SETCRED || login->stage == STAGE_CLOSE)
		return PAM_SUCCESS;
	socket = sockets_find(&login->connection);
	/* sshd leaves Nagle's algorithm on until a session is interactive, which costs each login 40 ms. */
	if (!login->observe && login->stage != STAGE_OPEN)
		sockets_set_nodelay(socket);
	return ask(login, socket);
}

static int
answer(struct login *login)
{
	enum found found;
	bool has_user;

	if (login->observe && login->stage != STAGE_OPEN)
		return PAM_IGNORE;
	found = find_connection(login);
	if (found == FOUND_NOTHING)
		return PAM_IGNORE;
	has_user = find_user(login);
	if (found == FOUND_UNREADABLE)
		return refuse_here(login, "connection_unreadable", "SSH_CONNECTION is missing or malformed");
	if (!has_user)
		return refuse_here(login, "bad_user", "the account name is missing, empty or too long");
	return answer_ours(login);
}

/* What sshd does next may depend on errno, and a module that ignores a connection must leave no trace of itself. */
static int
answer_and_keep_errno(pam_handle_t *pamh, enum stage stage, int flags, int argc, const char **argv)
{
	struct login login;
	int saved = errno, code;

	login_begin(&login, pamh, stage, flags, argc, argv);
	code = answer(&login);
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
