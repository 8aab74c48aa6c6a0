"""INVITE in to INVITE out, seen from outside: one thread is the PBX and the carrier, so both times are of one clock."""

import socket
import time

import peers

SDP = ("v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n"
       "m=audio 6000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n")
PATIENCE = 5.0


def bound(host, port):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, port))
    made.settimeout(PATIENCE)
    return made


def headers(text, *names):
    lines = text.split("\r\n")
    return "".join(f"{line}\r\n" for line in lines if line.split(":", 1)[0] in names)


def invite(dialled, number, port):
    return (f"INVITE sip:{dialled}@127.0.0.1:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {peers.PBX}:15080;branch=z9hG4bKprobe{number}\r\n"
            f"From: <sip:4821@{peers.PBX}:15080>;tag=p{number}\r\n"
            f"To: <sip:{dialled}@127.0.0.1:{port}>\r\nCall-ID: probe{number}@{peers.PBX}\r\n"
            f"CSeq: 1 INVITE\r\nContact: <sip:4821@{peers.PBX}:15080>\r\nMax-Forwards: 70\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}")


def wait_for(peer, start):
    while True:
        text = peer.recv(65535).decode()
        if text.startswith(start):
            return text


def ack(request, answer):
    first = request.split("\r\n", 1)[0].replace("INVITE", "ACK", 1)
    kept = headers(request, "Via", "From", "Call-ID") + headers(answer, "To")
    return f"{first}\r\n{kept}CSeq: 1 ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"


def setup_times(dialled, port, first, pause):
    """Dials each number once; the callee is busy. Milliseconds of each, sorted."""
    relay, spent = ("127.0.0.1", port), []
    with bound(peers.PBX, 15080) as pbx, bound(peers.CARRIER, 15090) as carrier:
        for number, name in enumerate(dialled, first):
            request = invite(name, number, port)
            began = time.perf_counter()
            pbx.sendto(request.encode(), relay)
            heard = wait_for(carrier, "INVITE ")
            spent.append((time.perf_counter() - began) * 1000)
            busy = headers(heard, "Via", "From", "To", "Call-ID", "CSeq")
            busy = busy.replace("\r\nCall-ID", f";tag=c{number}\r\nCall-ID", 1)
            carrier.sendto(f"SIP/2.0 486 x\r\n{busy}Content-Length: 0\r\n\r\n".encode(), relay)
            answer = wait_for(pbx, "SIP/2.0 486")
            pbx.sendto(ack(request, answer).encode(), relay)
            time.sleep(pause)
    return sorted(spent)
