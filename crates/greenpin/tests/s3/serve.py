#!/usr/bin/env python3
"""An S3 server for the tests: moto's, with one bucket, that checks who asks.

Says on its first line where it is and what opens it. Then takes one command a line and answers each with a line of JSON:
`list` (keys with their lengths), `down` (answers nobody), `up` (answers again). Ends with its input.
"""

import json
import os
import socket
import sys

# The first requests make a user with keys; from then on every signature is verified, and the user's rights are.
SETUP_REQUESTS = 4
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = str(SETUP_REQUESTS)
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"

import boto3  # noqa: E402
from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: E402

BUCKET, REGION = "recordings", "eu-central-1"
RIGHTS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}


def client(service, endpoint, key="nobody", secret="nothing"):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(port):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


def main():
    port = free_port()
    server = serve(port)
    endpoint = f"http://127.0.0.1:{port}"
    iam = client("iam", endpoint)
    iam.create_user(UserName="greenpin")
    iam.put_user_policy(UserName="greenpin", PolicyName="s3", PolicyDocument=json.dumps(RIGHTS))
    key = iam.create_access_key(UserName="greenpin")["AccessKey"]
    s3 = client("s3", endpoint, key["AccessKeyId"], key["SecretAccessKey"])
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def say(what):
        print(json.dumps(what), flush=True)

    say(
        {
            "endpoint": endpoint,
            "bucket": BUCKET,
            "region": REGION,
            "access_key_id": key["AccessKeyId"],
            "secret_access_key": key["SecretAccessKey"],
        }
    )
    for line in sys.stdin:
        match line.strip():
            case "list":
                found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
                say([[one["Key"], one["Size"]] for one in found])
            case "down":
                server.stop()
                say("down")
            case "up":
                server = serve(port)
                say("up")


if __name__ == "__main__":
    main()
