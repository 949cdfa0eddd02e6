"""The waiting room as a page: plain HTML in two languages, one script of its own, nothing from elsewhere.

The script takes the shopper's access token from the address' fragment (#token=…, which no server sees) or from this
tab's session storage, takes a ticket, and asks for its place every few seconds.
"""

from __future__ import annotations

import html

from doorbuster.contexts.waiting_room.model import Room
from doorbuster.kernel.clock import rfc3339

_STYLE = """
body{font:18px/1.5 system-ui,sans-serif;max-width:32rem;margin:0 auto;padding:1.5rem;color:#1b1f24;text-align:center}
h1{font-size:1.4rem}#place{font-size:3.5rem;font-weight:700;margin:.5rem}p{margin:.6rem 0}.zh{color:#666}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e4e7ea}.zh{color:#9aa}}
"""

_SCRIPT = """
const path=location.pathname+'/tickets',show=(id,text)=>{document.getElementById(id).textContent=text};
const given=new URLSearchParams(location.hash.slice(1)).get('token');
if(given){if(!sessionStorage.getItem('doorbuster.token'))sessionStorage.setItem('doorbuster.token',given);
history.replaceState(null,'',location.pathname)}
const token=sessionStorage.getItem('doorbuster.token');
const ask=(method,url,more)=>fetch(url,{method,headers:{Authorization:'Bearer '+token,...more}});
const words={waiting:['Please wait','请稍候'],admitted:['It is your turn','轮到您了'],
used:['Your order is placed','已下单'],expired:['Your turn has passed','已过号']};
const span=t=>{const [from,to]=[t.estimate_from_s,t.estimate_to_s??t.estimate_s].map(s=>Math.ceil(s/60));
return from<to?from+'–'+to:to};
function tell(t){show('state',words[t.state][0]);show('state-zh',words[t.state][1]);
show('place',t.state!=='waiting'?'':t.place===null?t.opens_in_s+' s':t.ahead+1);
show('estimate',t.estimate_s===null?'':'≈ '+span(t)+' min · 约 '+span(t)+' 分钟');
if(t.admission){sessionStorage.setItem('doorbuster.admission.'+t.sale_id,t.admission)}}
const login=()=>{sessionStorage.removeItem('doorbuster.token');
show('state','Log in to take a ticket');show('state-zh','请先登录')};
async function look(){let pause=10000;
try{const answer=await ask('GET',path+'/mine');if(answer.status===401){login();return}
if(answer.ok){const t=await answer.json();tell(t);if(t.state==='used'||t.state==='expired')return;
pause=Math.min(60000,Math.max(3000,100*(t.estimate_from_s??t.opens_in_s??30)))}}catch{}
setTimeout(look,pause*(1+Math.random()/3))}
async function start(){if(!token){login();return}
try{const answer=await ask('POST',path,{'Idempotency-Key':crypto.randomUUID?.()??String(Date.now())});
if(answer.ok){tell(await answer.json());look();return}
if(answer.status===401){login();return}
show('state',(await answer.json()).title)}catch{}setTimeout(start,3000+Math.random()*3000)}
start();
"""


def policy(nonce: str) -> dict[str, str]:
    """Only this page's own style and script run, and only this shop is asked."""
    return {
        "content-security-policy": (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "referrer-policy": "no-referrer",
        "vary": "accept",
    }


def page(room: Room, nonce: str) -> str:
    title, opens = html.escape(room.title), html.escape(rfc3339(room.opens_ms))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{title}</title><style nonce="{nonce}">{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>Opens · 开售 <time>{opens}</time></p>"
        '<div role="status" aria-live="polite"><p id="state">Waiting room</p>'
        '<p class="zh" lang="zh" id="state-zh">等候室</p><p id="place"></p><p id="estimate"></p></div>'
        "<noscript><p>This page needs its script. <span lang='zh'>本页需要启用脚本。</span></p></noscript>"
        f'<script nonce="{nonce}">{_SCRIPT}</script></body></html>'
    )
