/* See log.h. */
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>

#include "text.h"

#define ADDRESS_SIZE (INET6_ADDRSTRLEN + PORT_TEXT_SIZE + 4)

static void
format_address(const struct login *login, char out[ADDRESS_SIZE])
{
	char address[INET6_ADDRSTRLEN], port[PORT_TEXT_SIZE];

	if (!login->has_connection) {
		snprintf(out, ADDRESS_SIZE, "unknown");
		return;
	}
	endpoint_format(&login->connection.client, address, port);
	snprintf(out, ADDRESS_SIZE, strchr(address, ':') == NULL ? "%s:%s" : "[%s]:%s", address, port);
}

static long long
elapsed_ms(const struct login *login)
{
	return (long long)(monotonic_ms() - login->started_ms);
}

void
log_denial(const struct login *login, int priority, const char *reason, const char *detail)
{
	char user[TEXT_LOG_SIZE], quoted[TEXT_LOG_SIZE], address[ADDRESS_SIZE];

	text_for_log(login->user == NULL ? "" : login->user, user, sizeof(user));
	text_for_log(detail, quoted, sizeof(quoted));
	format_address(login, address);
	pam_syslog(login->pamh, priority, "decision=deny reason=%s user=%s addr=%s method=%s ms=%lld detail=%s", reason,
	    user, address, login->method, elapsed_ms(login), quoted);
}

static const char *
word_of(const struct agent_verdict *verdict)
{
	if (verdict->allow)
		return TSW_VERDICT_ALLOW;
	return verdict->check ? TSW_VERDICT_CHECK : TSW_VERDICT_DENY;
}

void
log_verdict(const struct login *login, const struct agent_verdict *verdict)
{
	char id[TEXT_LOG_SIZE];

	if (!login->debug)
		return;
	text_for_log(verdict->id, id, sizeof(id));
	pam_syslog(login->pamh, LOG_DEBUG, "decision=%s id=%s phase=%s method=%s ms=%lld", word_of(verdict), id,
	    login_phase(login), login->method, elapsed_ms(login));
}
