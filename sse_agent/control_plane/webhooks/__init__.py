"""What agents report, POSTed to the customer's application, signed as Standard Webhooks says.

`registry` keeps where to send what, `schedule` (pure) when to try again, `addresses` where a request may go, `delivery`
makes one request, `courier` is the loop, `endpoints` puts it on HTTP.
"""
