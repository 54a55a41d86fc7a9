//! Customers: found by id, by e-mail in any case, and by any external id.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use tillway_core::http::{Request, Response};
use tillway_core::time::Timestamp;

use super::ClaritySandbox;
use super::answers::{Check, Outcome, Query, answer, json_body, not_found, problem, with_header};
use super::model::{Address, Customer};
use super::orders::{set, set_texts};
use super::table::Table;

/// The customers with their indexes.
#[derive(Default)]
pub(super) struct Customers {
    table: Table<Customer>,
    by_email: HashMap<String, BTreeSet<String>>,
    by_external: HashMap<String, BTreeSet<String>>,
}

fn email_key(email: &str) -> String {
    email.to_lowercase()
}

impl Customers {
    pub fn get(&self, id: &str) -> Option<&Customer> {
        self.table.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Customer> {
        self.table.iter()
    }

    fn unlink(index: &mut HashMap<String, BTreeSet<String>>, name: &str, id: &str) {
        if let Some(ids) = index.get_mut(name) {
            ids.remove(id);
        }
    }

    /// Puts a customer in, or the new state of one.
    fn put(&mut self, now: Timestamp, id: &str, customer: Customer) {
        if let Some(old) = self.table.get(id) {
            if let Some(email) = &old.email {
                Self::unlink(&mut self.by_email, &email_key(email), id);
            }
            for external in old.external_ids.values() {
                Self::unlink(&mut self.by_external, external, id);
            }
        }
        if let Some(email) = &customer.email {
            self.by_email.entry(email_key(email)).or_default().insert(id.to_owned());
        }
        for external in customer.external_ids.values() {
            self.by_external.entry(external.clone()).or_default().insert(id.to_owned());
        }
        self.table.put(id, now, customer);
    }

    /// Takes note of who ordered, where that is a new account.
    pub fn meet(&mut self, now: Timestamp, customer: &Customer) {
        if let Some(id) = customer.customer_id.as_deref().filter(|id| !self.table.contains(id)) {
            self.put(now, id, customer.clone());
        }
    }

    fn has_email(&self, email: &str) -> bool {
        self.by_email.get(&email_key(email)).is_some_and(|ids| !ids.is_empty())
    }

    fn next_id(&self) -> String {
        let mut number = self.table.len() + 1;
        while self.table.contains(&format!("CU-{number}")) {
            number += 1;
        }
        format!("CU-{number}")
    }

    /// Customers changed since then with this e-mail and this external id, oldest change first.
    fn find(&self, since: Option<Timestamp>, email: Option<&str>, external: Option<&str>) -> Vec<&Customer> {
        let email = email.map(email_key);
        let narrowed = match (&email, external) {
            (Some(email), _) => Some(self.by_email.get(email)),
            (None, Some(external)) => Some(self.by_external.get(external)),
            (None, None) => None,
        };
        let fits = |c: &&Customer| {
            since.is_none_or(|since| c.updated_at >= since)
                && email.as_ref().is_none_or(|e| c.email.as_deref().map(email_key).as_ref() == Some(e))
                && external.is_none_or(|x| c.external_ids.values().any(|v| v == x))
        };
        match narrowed {
            None => self.table.changed_since(since).collect(),
            Some(ids) => {
                let ids = ids.into_iter().flatten();
                let mut found: Vec<_> = ids.filter_map(|id| self.table.get(id)).filter(fits).collect();
                found.sort_by(|a, b| (a.updated_at, &a.customer_id).cmp(&(b.updated_at, &b.customer_id)));
                found
            }
        }
    }
}

const ADDRESS: [&str; 11] = [
    "firstName",
    "lastName",
    "company",
    "street1",
    "street2",
    "city",
    "region",
    "postalCode",
    "country",
    "phone",
    "email",
];

fn read_addresses(check: &mut Check, map: &serde_json::Map<String, Value>) -> Option<Vec<Address>> {
    let list = check.list(map, "", "addresses")?;
    let mut addresses = Vec::with_capacity(list.len());
    for (n, value) in list.iter().enumerate() {
        let at = format!("/addresses/{n}");
        let Some(map) = check.object(value, &at, &ADDRESS) else { continue };
        let mut text = |name| check.text(map, &at, name);
        let address = Address {
            first_name: text("firstName"),
            last_name: text("lastName"),
            company: text("company"),
            street1: text("street1"),
            street2: text("street2"),
            city: text("city"),
            region: text("region"),
            postal_code: text("postalCode"),
            country: text("country"),
            phone: text("phone"),
            email: text("email"),
        };
        let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        if address.country.as_deref().is_some_and(|country| !two(country)) {
            check.wrong(format!("{at}/country"), "expected two capital letters");
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn read_customer(body: &Value) -> Result<Customer, Response> {
    let mut check = Check::default();
    let mut customer = Customer::default();
    // `updatedAt` is the shop's own; a caller may send back what it read.
    let allowed = [
        "customerId",
        "email",
        "firstName",
        "lastName",
        "company",
        "phone",
        "addresses",
        "externalIds",
        "updatedAt",
    ];
    if let Some(map) = check.object(body, "", &allowed) {
        customer.email = Some(check.needed(map, "", "email"));
        if customer.email.as_deref().is_some_and(|email| !email.is_empty() && !email.contains('@')) {
            check.wrong("/email".into(), "expected an e-mail address");
        }
        customer.customer_id = check.text(map, "", "customerId");
        customer.first_name = check.text(map, "", "firstName");
        customer.last_name = check.text(map, "", "lastName");
        customer.company = check.text(map, "", "company");
        customer.phone = check.text(map, "", "phone");
        customer.addresses = read_addresses(&mut check, map).unwrap_or_default();
        let given = check.texts(map, "", "externalIds", false);
        set_texts(&mut customer.external_ids, given);
    }
    check.done(customer)
}

impl ClaritySandbox {
    /// A customer opens or changes an account; emits `customer.updated`. Without a `customer_id` it is a
    /// new one. Returns the id.
    pub fn update_customer(&mut self, now: Timestamp, customer: Customer) -> String {
        self.keep_customer(now, customer, true)
    }

    fn keep_customer(&mut self, now: Timestamp, mut customer: Customer, emit: bool) -> String {
        let id = customer.customer_id.clone().unwrap_or_else(|| self.customers.next_id());
        customer.customer_id = Some(id.clone());
        customer.updated_at = now;
        if emit {
            self.emit(now, "customer.updated", &customer);
        }
        self.customers.put(now, &id, customer);
        id
    }

    pub(super) fn list_customers(&self, request: &Request) -> Outcome {
        let paging = &self.config.paging;
        let query = Query::read(request.query(), paging, &["email", "externalId", "updatedSince"])?;
        let since = query.updated_since()?;
        let found = self.customers.find(since, query.get("email"), query.get("externalId"));
        query.page(paging, found.into_iter())
    }

    pub(super) fn get_customer(&self, id: &str) -> Outcome {
        self.customers.get(id).map(|c| answer(200, c)).ok_or_else(|| not_found("customer"))
    }

    pub(super) fn post_customer(&mut self, now: Timestamp, request: &Request) -> Outcome {
        let customer = read_customer(&json_body(request)?)?;
        let taken = customer.customer_id.as_deref().is_some_and(|id| self.customers.get(id).is_some())
            || customer.email.as_deref().is_some_and(|email| self.customers.has_email(email));
        if taken {
            return Err(problem(409, "conflict", "a customer of this id or e-mail exists already"));
        }
        let id = self.keep_customer(now, customer, self.config.echo);
        let stored = self.customers.get(&id).ok_or_else(|| not_found("customer"))?;
        Ok(with_header(answer(201, stored), "location", &format!("{}/customers/{id}", self.config.base_path)))
    }

    pub(super) fn patch_customer(&mut self, now: Timestamp, id: &str, request: &Request) -> Outcome {
        let known = self.customers.get(id).ok_or_else(|| not_found("customer"))?;
        let body = json_body(request)?;
        let mut check = Check::default();
        let mut customer = known.clone();
        if let Some(map) = check.object(&body, "", &["externalIds", "phone", "addresses"]) {
            if map.is_empty() {
                check.wrong(String::new(), "expected at least one member");
            }
            set(&mut customer.phone, check.text(map, "", "phone"));
            let given = check.texts(map, "", "externalIds", true);
            set_texts(&mut customer.external_ids, given);
            if let Some(addresses) = read_addresses(&mut check, map) {
                customer.addresses = addresses;
            }
        }
        let customer = check.done(customer)?;
        if customer != *known {
            self.keep_customer(now, customer, self.config.echo);
        }
        self.get_customer(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tillway_core::http::Method;
    use tillway_core::time::Millis;

    use super::super::testing::{Shop, json_of, now};
    use super::*;

    fn person(email: &str) -> Customer {
        Customer { email: Some(email.into()), first_name: Some("Ada".into()), ..Customer::default() }
    }

    fn ids(shop: &mut Shop, query: &str) -> Vec<String> {
        let body = json_of(&shop.call(now(), Method::Get, &format!("/customers{query}"), None));
        body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["customerId"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn customers_are_found_by_email_and_external_id() {
        let mut shop = Shop::new();
        let a = shop.0.update_customer(now(), person("Ada@Example.com"));
        let b = shop.0.update_customer(now() + Millis(1), person("bob@example.com"));
        let event = &shop.drain(now() + Millis(1))[0];
        assert_eq!(
            (&event["type"], &event["data"]["customerId"]),
            (&"customer.updated".into(), &a.as_str().into())
        );
        assert_eq!(ids(&mut shop, "?email=ada%40example.COM"), [a.as_str()]);
        assert_eq!(ids(&mut shop, "?externalId=cus_9"), Vec::<String>::new());
        let path = format!("/customers/{b}");
        let patch = json!({"externalIds": {"stripe": "cus_9"}, "phone": "+4912345"});
        let response = shop.call(now() + Millis(2), Method::Patch, &path, Some(&patch));
        assert_eq!((response.status, &json_of(&response)["phone"]), (200, &"+4912345".into()));
        assert_eq!(shop.drain(now() + Millis(2)).len(), 1, "an echo");
        assert_eq!(ids(&mut shop, "?externalId=cus_9"), [b.as_str()]);
        assert_eq!(ids(&mut shop, "?externalId=cus_9&email=ada%40example.com"), Vec::<String>::new());
        assert_eq!(shop.call(now(), Method::Patch, &path, Some(&patch)).status, 200);
        assert!(shop.drain(now() + Millis(9)).is_empty(), "nothing changed");
        shop.call(now(), Method::Patch, &path, Some(&json!({"externalIds": {"stripe": null}})));
        assert_eq!(ids(&mut shop, "?externalId=cus_9"), Vec::<String>::new());
        assert_eq!(ids(&mut shop, ""), [a, b]);
    }

    #[test]
    fn a_new_customer_is_created_once() {
        let mut shop = Shop::new();
        let body = json!({"email": "eve@example.com", "addresses": [{"street1": "1 Way", "country": "US"}]});
        let created = shop.call(now(), Method::Post, "/customers", Some(&body));
        assert_eq!(created.status, 201);
        let id = json_of(&created)["customerId"].as_str().unwrap().to_owned();
        assert_eq!(created.header("location").unwrap(), format!("/api/v1/customers/{id}"));
        let read = shop.call(now(), Method::Get, &format!("/customers/{id}"), None);
        assert_eq!(json_of(&read), json_of(&created));
        let upper = json!({"email": "EVE@example.com"});
        assert_eq!(shop.call(now(), Method::Post, "/customers", Some(&upper)).status, 409);
        for (body, pointer) in [
            (json!({}), "/email"),
            (json!({"email": "x"}), "/email"),
            (json!({"email": "a@b", "nick": 1}), "/nick"),
            (json!({"email": "a@b", "addresses": [{"country": "usa"}]}), "/addresses/0/country"),
            (json!({"email": "a@b", "externalIds": {"x": null}}), "/externalIds/x"),
        ] {
            let problem = json_of(&shop.call(now(), Method::Post, "/customers", Some(&body)));
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
        }
        assert_eq!(shop.call(now(), Method::Get, "/customers/none", None).status, 404);
    }
}
