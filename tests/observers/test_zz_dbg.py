import pytest
from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from turbo.observers.subscriptions import Subscription
import turbo.topic as t
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])
@pytest.mark.parametrize("n", range(5))
async def test_x(layer, n, monkeypatch):
    if layer!="pubsub": pytest.skip()
    log=[]
    o=t.Topic.take
    def take(self, e):
        log.append(("take", e.sid[:4], e.epoch, e.number, len(e.data), self.epoch, self.number, self.backlog is None)); return o(self,e)
    monkeypatch.setattr(t.Topic,"take",take)
    o2=t.Topic.admit
    def admit(self,s,h):
        log.append(("admit", self.sid[:4], h.epoch,h.tip,len(h.entries),h.complete,self.epoch,self.number)); return o2(self,s,h)
    monkeypatch.setattr(t.Topic,"admit",admit)
    d=Subscription.deliver
    def deliver(self,f):
        log.append(("deliver", f.text)); return d(self,f)
    monkeypatch.setattr(Subscription,"deliver",deliver)
    ann=await Person.objects.acreate(name="Ann")
    async with Client(PersonConsumer) as c:
        await c.ask("subscribe_instance", pk=ann.pk, snapshot=True)
        await ann.asave()
        log.append(await c.next())
        ok = await c.nothing()
    for l in log: print(l)
    assert ok
