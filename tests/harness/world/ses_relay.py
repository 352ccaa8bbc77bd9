"""The emulator of AWS, with an SES that sends what it accepts: the raw bytes of SendEmail go to 127.0.0.1:2525.

The emulator's own relay builds a new mail out of what it parsed, which would test its composer instead of ours."""

import base64
import json
import smtplib

from ministack import app
from ministack.services import ses_v2

accept = ses_v2.handle_request


async def accept_and_send(method, path, headers, body, query_params):
    answer = await accept(method, path, headers, body, query_params)
    if (method, path) == ("POST", "/v2/email/outbound-emails") and answer[0] == 200:
        request = json.loads(body)
        raw = base64.b64decode(request["Content"]["Raw"]["Data"])
        with smtplib.SMTP("127.0.0.1", 2525, timeout=20) as relay:
            relay.sendmail("ses@ses.example", request["Destination"]["ToAddresses"], raw)
    return answer


ses_v2.handle_request = accept_and_send
app.main()
